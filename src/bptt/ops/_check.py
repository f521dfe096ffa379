"""What every op asks of its arguments, whoever serves the call."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from ._call import GATES, Call
from ._concrete import has_values

_MEMORY, _NONLINEARITIES = ("fast", "low"), ("tanh", "relu")
_STATE = {"lstm": (), "gru": ("h_0",), "rnn": ("h_0",)}  # an LSTM has a pair
_KEEPS = {"lstm": ("h_keep", "c_keep"), "gru": ("h_keep", "c_keep"), "rnn": ("h_keep",)}
_TAPS = {"lstm": ("h_tap", "c_tap"), "gru": ("h_tap",), "rnn": ("h_tap",)}
_PROJECTION = {"lstm": ("w_hr",), "gru": (), "rnn": ()}
_REQUIRED = {op: ("x", *_STATE[op], "w_ih", "w_hh") for op in GATES}
_OPTIONAL = {op: ("b_ih", "b_hh", *_PROJECTION[op], "lengths", *_KEEPS[op], *_TAPS[op]) for op in GATES}


def prepare(op: str, arguments: Mapping[str, Any]) -> Call:
    """The call that the arguments make, with autocast applied; raises if they break a rule."""
    a = dict(arguments)
    _check_choices(op, a)
    _check_types(op, a)
    if torch._C._is_any_autocast_enabled():
        _autocast(op, a)
    T, B, H, P = _check_tensors(op, a)
    device = a["x"].device
    if a["lengths"] is not None:
        a["lengths"] = check_lengths(a["lengths"], T, B)
    for name in _KEEPS[op]:
        if a[name] is not None:
            _check_device(name, a[name], device)
            check_keep(name, a[name], T, B)
    for name in _TAPS[op]:
        if a[name] is not None:
            width = P if name == "h_tap" else H
            _check_device(name, a[name], device)
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
    check_keep_shape(name, keep, T, B)
    if not (keep.is_floating_point() or keep.dtype == torch.bool):
        raise TypeError(f"{name} must have a floating dtype or bool, got {keep.dtype}")
    if keep.requires_grad:
        raise ValueError(f"{name} must not require a gradient: it scales gradients, got requires_grad=True")
    if has_values(keep) and keep.numel():
        least, most = (extreme.item() for extreme in keep.aminmax())
        if not (least >= 0 and most <= 1):
            raise ValueError(f"{name} must be in [0, 1], got values from {least:g} to {most:g}")


def check_keep_shape(name: str, keep: Tensor, T: int, B: int) -> None:
    """Raise ValueError unless a keep is (T,) or (T, B), calling it `name`."""
    if keep.shape not in ((T,), (T, B)):
        raise ValueError(
            f"{name} must have shape (T,) or (T, B) = ({T},) or ({T}, {B}), got {tuple(keep.shape)}"
        )


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


def states(a: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
    """h_0 and c_0."""
    return a["hx"] if "hx" in a else (a["h_0"], None)


def _check_choices(op: str, a: Mapping[str, Any]) -> None:
    if a["memory"] not in _MEMORY:
        _refuse_choice("memory", _MEMORY, a["memory"])
    if op == "rnn" and a["nonlinearity"] not in _NONLINEARITIES:
        _refuse_choice("nonlinearity", _NONLINEARITIES, a["nonlinearity"])
    for name in ("reverse", "return_cells") if op == "lstm" else ("reverse",):
        if not isinstance(a[name], bool):
            raise TypeError(f"{name} must be a bool, got {type(a[name]).__name__}")


def _refuse_choice(name: str, choices: Sequence[str], got: Any) -> NoReturn:
    raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {got!r}")


def _check_types(op: str, a: Mapping[str, Any]) -> None:
    for name in _REQUIRED[op]:
        if not isinstance(a[name], Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(a[name]).__name__}")
    if op == "lstm":
        if not (isinstance(a["hx"], (tuple, list)) and len(a["hx"]) == 2):
            raise TypeError(f"hx must be a pair (h_0, c_0), got {type(a['hx']).__name__}")
        for name, value in zip(("h_0", "c_0"), a["hx"], strict=True):
            if not isinstance(value, Tensor):
                raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    for name in _OPTIONAL[op]:
        value = a[name]
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor or None, got {type(value).__name__}")
    if (a["b_ih"] is None) != (a["b_hh"] is None):
        missing = "b_ih" if a["b_ih"] is None else "b_hh"
        raise ValueError(f"b_ih and b_hh must both be given or both be None, got None for {missing} only")


def _autocast(op: str, a: dict[str, Any]) -> None:
    """Cast as autocast asks: inputs and weights, but never keeps, taps or the cell state."""
    device = a["x"].device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return
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


def _check_tensors(op: str, a: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """T, B, H and P, from x and the weights, which fit together."""
    x, w_hh, w_hr = a["x"], a["w_hh"], a.get("w_hr")
    dtype, device = x.dtype, x.device
    if not dtype.is_floating_point:
        raise TypeError(f"x must have a floating dtype, got {dtype}")
    if x.dim() != 3:
        raise ValueError(f"x must have shape (T, B, I), got {tuple(x.shape)}")
    T, B, width = x.shape
    if T == 0:
        raise ValueError(f"x must have at least one step, got T = 0 in {tuple(x.shape)}")
    gates = GATES[op]
    if w_hh.dim() != 2 or w_hh.shape[0] % gates:
        letter = "H" if w_hr is None else "P"
        raise ValueError(f"w_hh must have shape ({gates}·H, {letter}), got {tuple(w_hh.shape)}")
    rows = w_hh.shape[0]
    P = H = rows // gates
    if w_hr is not None:
        if w_hr.dim() != 2 or w_hr.shape[1] != H:
            raise ValueError(f"w_hr must have shape (P, H) = (P, {H}), got {tuple(w_hr.shape)}")
        P = w_hr.shape[0]
    h_0, c_0 = states(a)
    for name, tensor, shape in (
        ("w_ih", a["w_ih"], (rows, width)),
        ("w_hh", w_hh, (rows, P)),
        ("b_ih", a["b_ih"], (rows,)),
        ("b_hh", a["b_hh"], (rows,)),
        ("w_hr", w_hr, (P, H)),
        ("h_0", h_0, (B, P)),
        ("c_0", c_0, (B, H)),
    ):
        if tensor is None:
            continue
        if tensor.dtype != dtype:
            _check_dtype(name, tensor, dtype)
        if tensor.device != device:
            _check_device(name, tensor, device)
        if tensor.shape != shape:
            letters = _LETTERS[name].format(gates=gates, letter="H" if w_hr is None else "P")
            raise ValueError(f"{name} must have shape {letters} = {shape}, got {tuple(tensor.shape)}")
    return T, B, H, P


_LETTERS = {
    "w_ih": "({gates}·H, I)",
    "w_hh": "({gates}·H, {letter})",
    "b_ih": "({gates}·H,)",
    "b_hh": "({gates}·H,)",
    "h_0": "(B, {letter})",
    "c_0": "(B, H)",
}


def _check_dtype(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    if name != "c_0":
        raise TypeError(f"{name} must have x's dtype {dtype}, got {tensor.dtype}")
    if not (dtype.itemsize == 2 and tensor.dtype == torch.float32):
        raise TypeError(f"c_0 must have x's dtype {dtype}, or float32 beside a 16-bit x, got {tensor.dtype}")


def _check_device(name: str, tensor: Tensor, device: torch.device) -> None:
    if tensor.device != device:
        raise ValueError(f"{name} must be on x's device {device}, got {tensor.device}")
