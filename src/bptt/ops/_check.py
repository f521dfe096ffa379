"""What every op asks of its arguments, whoever serves the call."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ._call import GATES, Call
from ._concrete import has_values

_ANY_DTYPE = ("lengths", "h_keep", "c_keep", "h_tap", "c_tap")  # they have rules of their own


def prepare(op: str, arguments: Mapping[str, Any]) -> Call:
    """The call that the arguments make, with autocast applied; raises if they break a rule."""
    a = dict(arguments)
    _check_choices(a)
    _check_tensors(op, a)
    a = _autocast(op, a)
    given = {name: value for name, value in (a | states(a)).items() if isinstance(value, Tensor)}
    _check_dtypes(given)
    _check_devices(given)
    T, B, H, P = _check_shapes(op, given)
    if a["lengths"] is not None:
        a["lengths"] = check_lengths(a["lengths"], T, B)
    for name in ("h_keep", "c_keep"):
        if a.get(name) is not None:
            check_keep(name, a[name], T, B)
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
        least, most = (extreme.item() for extreme in keep.aminmax())
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
    for name, value in (("x", a["x"]), ("w_ih", a["w_ih"]), ("w_hh", a["w_hh"]), *states(a).items()):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    for name in ("b_ih", "b_hh", "w_hr", "lengths", "h_keep", "c_keep", "h_tap", "c_tap"):
        value = a.get(name)
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor or None, got {type(value).__name__}")
    if (a["b_ih"] is None) != (a["b_hh"] is None):
        missing = "b_ih" if a["b_ih"] is None else "b_hh"
        raise ValueError(f"b_ih and b_hh must both be given or both be None, got None for {missing} only")


def _autocast(op: str, a: dict[str, Any]) -> dict[str, Any]:
    """Cast as autocast asks: inputs and weights, but never keeps, taps or the cell state."""
    if not torch._C._is_any_autocast_enabled():
        return a
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


def _check_dtypes(given: Mapping[str, Tensor]) -> None:
    dtype = given["x"].dtype
    if not dtype.is_floating_point:
        raise TypeError(f"x must have a floating dtype, got {dtype}")
    for name, tensor in given.items():
        if tensor.dtype == dtype or name in _ANY_DTYPE:
            continue
        if name != "c_0":
            raise TypeError(f"{name} must have x's dtype {dtype}, got {tensor.dtype}")
        if not (dtype.itemsize == 2 and tensor.dtype == torch.float32):
            raise TypeError(
                f"c_0 must have x's dtype {dtype}, or float32 beside a 16-bit x, got {tensor.dtype}"
            )


def _check_devices(given: Mapping[str, Tensor]) -> None:
    device = given["x"].device
    for name, tensor in given.items():
        if tensor.device != device and name != "lengths":
            raise ValueError(f"{name} must be on x's device {device}, got {tensor.device}")


def _check_shapes(op: str, given: Mapping[str, Tensor]) -> tuple[int, int, int, int]:
    """T, B, H and P."""
    x, w_hh, w_hr = given["x"], given["w_hh"], given.get("w_hr")
    if x.dim() != 3:
        raise ValueError(f"x must have shape (T, B, I), got {tuple(x.shape)}")
    T, B, width = x.shape
    if T == 0:
        raise ValueError(f"x must have at least one step, got T = 0 in {tuple(x.shape)}")
    gates = GATES[op]
    letter = "H" if w_hr is None else "P"
    if w_hh.dim() != 2 or w_hh.shape[0] % gates:
        raise ValueError(f"w_hh must have shape ({gates}·H, {letter}), got {tuple(w_hh.shape)}")
    rows = w_hh.shape[0]
    H = rows // gates
    P = H
    if w_hr is not None:
        if w_hr.dim() != 2 or w_hr.shape[1] != H:
            raise ValueError(f"w_hr must have shape (P, H) = (P, {H}), got {tuple(w_hr.shape)}")
        P = w_hr.shape[0]
    for name, letters, shape in (
        ("w_ih", "({gates}·H, I)", (rows, width)),
        ("w_hh", "({gates}·H, {letter})", (rows, P)),
        ("b_ih", "({gates}·H,)", (rows,)),
        ("b_hh", "({gates}·H,)", (rows,)),
        ("h_0", "(B, {letter})", (B, P)),
        ("c_0", "(B, H)", (B, H)),
    ):
        tensor = given.get(name)
        if tensor is not None and tensor.shape != shape:
            expected = letters.format(gates=gates, letter=letter)
            raise ValueError(f"{name} must have shape {expected} = {shape}, got {tuple(tensor.shape)}")
    return T, B, H, P
