"""What every op asks of its arguments, whoever serves the call."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ._call import GATES, Call
from ._concrete import has_values


def prepare(op: str, arguments: Mapping[str, Any]) -> Call:
    """The call that the arguments make, with autocast applied; raises if they break a rule."""
    a = dict(arguments)
    _check_choices(a)
    _check_tensors(op, a)
    a = _autocast(op, a)
    _check_dtypes(a)
    _check_devices(a)
    T, B, H = _check_shapes(op, a)
    if a["lengths"] is not None:
        a["lengths"] = check_lengths(a["lengths"], T, B)
    for name in ("h_keep", "c_keep"):
        if a.get(name) is not None:
            check_keep(name, a[name], T, B)
    P = H if a.get("w_hr") is None else a["w_hr"].shape[0]
    for name, width in (("h_tap", P), ("c_tap", H)):
        if a.get(name) is not None:
            check_tap(name, a[name], (T, B, width), "P" if width != H else "H")
    return Call(op, a)


def check_lengths(lengths: Any, T: int, B: int) -> Tensor:
    """The lengths of B sequences of at most T steps, as int64.

    Raises:
        TypeError: if they are no tensor of integers.
        ValueError: if they are not (B,), or one is outside 1 ≤ length ≤ T. The values are looked at on the
            CPU only, and not in compiled graphs or transforms.
    """
    if not isinstance(lengths, Tensor):
        raise TypeError(f"lengths must be a tensor, got {type(lengths).__name__}")
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise TypeError(f"lengths must have an integer dtype, got {lengths.dtype}")
    if lengths.shape != (B,):
        raise ValueError(f"lengths must have shape (B,) = ({B},), got {tuple(lengths.shape)}")
    lengths = lengths.long()
    if has_values(lengths) and B and not (lengths.min() >= 1 and lengths.max() <= T):
        raise ValueError(
            f"lengths must satisfy 1 <= length <= T = {T}, got values from "
            f"{int(lengths.min())} to {int(lengths.max())}"
        )
    return lengths


def check_keep(name: str, keep: Tensor, T: int, B: int) -> None:
    """Refuse what cannot scale the gradient of T steps of B sequences, calling it `name`.

    Raises:
        TypeError: if its dtype is neither floating nor bool.
        ValueError: if it is neither (T,) nor (T, B), requires a gradient, or holds values outside [0, 1]. The
            values are looked at on the CPU only, and not in compiled graphs or transforms.
    """
    if keep.shape not in ((T,), (T, B)):
        raise ValueError(
            f"{name} must have shape (T,) or (T, B) = ({T},) or ({T}, {B}), got {tuple(keep.shape)}"
        )
    if not (keep.is_floating_point() or keep.dtype == torch.bool):
        raise TypeError(f"{name} must have a floating dtype or bool, got {keep.dtype}")
    if keep.requires_grad:
        raise ValueError(f"{name} must not require a gradient: it scales gradients, got requires_grad=True")
    if has_values(keep) and keep.numel():
        least, most = keep.aminmax()
        if not (least >= 0 and most <= 1):
            raise ValueError(f"{name} must be in [0, 1], got values from {least:g} to {most:g}")


def check_tap(name: str, tap: Tensor, shape: tuple[int, int, int], letter: str) -> None:
    """Refuse what cannot be added to a state of `shape` (T, B, letter), calling it `name`.

    Raises:
        TypeError: if its dtype is not floating.
        ValueError: if it has another shape.
    """
    if tap.shape != shape:
        raise ValueError(f"{name} must have shape (T, B, {letter}) = {shape}, got {tuple(tap.shape)}")
    if not tap.is_floating_point():
        raise TypeError(f"{name} must have a floating dtype, got {tap.dtype}")


def states(a: Mapping[str, Any]) -> dict[str, Tensor]:
    """The initial states by name."""
    if "hx" in a:
        return {"h_0": a["hx"][0], "c_0": a["hx"][1]}
    return {"h_0": a["h_0"]}


def _check_choices(a: Mapping[str, Any]) -> None:
    for name, choices in (("memory", ("fast", "low")), ("nonlinearity", ("tanh", "relu"))):
        if name in a and a[name] not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {a[name]!r}")
    for name in ("reverse", "return_cells"):
        if name in a and not isinstance(a[name], bool):
            raise TypeError(f"{name} must be a bool, got {type(a[name]).__name__}")


def _check_tensors(op: str, a: Mapping[str, Any]) -> None:
    if op == "lstm" and not (isinstance(a["hx"], tuple | list) and len(a["hx"]) == 2):
        raise TypeError(f"hx must be a pair (h_0, c_0), got {type(a['hx']).__name__}")
    optional = ("b_ih", "b_hh", "w_hr", "lengths", "h_keep", "c_keep", "h_tap", "c_tap")
    required = {name: a[name] for name in ("x", "w_ih", "w_hh")} | states(a)
    for name, value in required.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    for name in optional:
        if not isinstance(a.get(name), Tensor | None):
            raise TypeError(f"{name} must be a tensor or None, got {type(a[name]).__name__}")
    if (a["b_ih"] is None) != (a["b_hh"] is None):
        missing = "b_ih" if a["b_ih"] is None else "b_hh"
        raise ValueError(f"b_ih and b_hh must both be given or both be None, got None for {missing} only")


def _autocast(op: str, a: dict[str, Any]) -> dict[str, Any]:
    """Cast as autocast asks: inputs and weights, but never keeps, taps or the cell state."""
    device = a["x"].device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return a
    low = torch.get_autocast_dtype(device)

    def cast(t: Tensor | None) -> Tensor | None:
        return t.to(low) if t is not None and t.is_floating_point() and t.dtype != torch.float64 else t

    for name in ("x", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr"):
        if name in a:
            a[name] = cast(a[name])
    if op == "lstm":
        h_0, c_0 = a["hx"]
        a["hx"] = (cast(h_0), c_0.float() if c_0.dtype.itemsize == 2 else c_0)
    else:
        a["h_0"] = cast(a["h_0"])
    return a


def _check_dtypes(a: Mapping[str, Any]) -> None:
    dtype = a["x"].dtype
    if not dtype.is_floating_point:
        raise TypeError(f"x must have a floating dtype, got {dtype}")
    same = {name: a.get(name) for name in ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")}
    initial = states(a)
    same["h_0"] = initial["h_0"]
    for name, tensor in same.items():
        if tensor is not None and tensor.dtype != dtype:
            raise TypeError(f"{name} must have x's dtype {dtype}, got {tensor.dtype}")
    c_0 = initial.get("c_0")
    if c_0 is not None and c_0.dtype not in (dtype, torch.float32 if dtype.itemsize == 2 else dtype):
        raise TypeError(f"c_0 must have x's dtype {dtype}, or float32 beside a 16-bit x, got {c_0.dtype}")


def _check_devices(a: Mapping[str, Any]) -> None:
    device = a["x"].device
    on = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr", "h_keep", "c_keep", "h_tap", "c_tap")
    for name, tensor in ({name: a.get(name) for name in on} | states(a)).items():
        if tensor is not None and tensor.device != device:
            raise ValueError(f"{name} must be on x's device {device}, got {tensor.device}")


def _check_shapes(op: str, a: Mapping[str, Any]) -> tuple[int, int, int]:
    x, w_hh, w_hr = a["x"], a["w_hh"], a.get("w_hr")
    if x.dim() != 3:
        raise ValueError(f"x must have shape (T, B, I), got {tuple(x.shape)}")
    T, B, width = x.shape
    if T == 0:
        raise ValueError(f"x must have at least one step, got T = 0 in {tuple(x.shape)}")
    gates = GATES[op]
    if w_hh.dim() != 2 or w_hh.shape[0] % gates:
        raise ValueError(
            f"w_hh must have shape ({gates}·H, {'P' if w_hr is not None else 'H'}), got {tuple(w_hh.shape)}"
        )
    H = w_hh.shape[0] // gates
    P = H
    if w_hr is not None:
        if w_hr.dim() != 2 or w_hr.shape[1] != H:
            raise ValueError(f"w_hr must have shape (P, H) = (P, {H}), got {tuple(w_hr.shape)}")
        P = w_hr.shape[0]
    expected = {
        "w_ih": (f"({gates}·H, I)", (gates * H, width)),
        "w_hh": (f"({gates}·H, {'H' if w_hr is None else 'P'})", (gates * H, P)),
        "b_ih": (f"({gates}·H,)", (gates * H,)),
        "b_hh": (f"({gates}·H,)", (gates * H,)),
        "h_0": (f"(B, {'H' if w_hr is None else 'P'})", (B, P)),
        "c_0": ("(B, H)", (B, H)),
    }
    given = {**a, **states(a)}
    for name, (letters, shape) in expected.items():
        tensor = given.get(name)
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} must have shape {letters} = {shape}, got {tuple(tensor.shape)}")
    return T, B, H
