from typing import Literal, overload

from torch import Tensor

from ._check import prepare
from ._dispatch import serve

State = tuple[Tensor, Tensor]


@overload
def lstm(
    x: Tensor,
    hx: State,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    w_hr: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
    h_keep: Tensor | None = None,
    c_keep: Tensor | None = None,
    h_tap: Tensor | None = None,
    c_tap: Tensor | None = None,
    return_cells: Literal[False] = False,
    memory: str = "fast",
    backend: str | None = None,
) -> tuple[Tensor, State]: ...
@overload
def lstm(
    x: Tensor,
    hx: State,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    w_hr: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
    h_keep: Tensor | None = None,
    c_keep: Tensor | None = None,
    h_tap: Tensor | None = None,
    c_tap: Tensor | None = None,
    return_cells: bool,
    memory: str = "fast",
    backend: str | None = None,
) -> tuple[Tensor, State] | tuple[Tensor, State, Tensor]: ...
def lstm(
    x: Tensor,
    hx: State,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    w_hr: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
    h_keep: Tensor | None = None,
    c_keep: Tensor | None = None,
    h_tap: Tensor | None = None,
    c_tap: Tensor | None = None,
    return_cells: bool = False,
    memory: str = "fast",
    backend: str | None = None,
) -> tuple[Tensor, State] | tuple[Tensor, State, Tensor]:
    r"""An LSTM over a whole sequence, with control of its gradient paths.

    With `T` steps, `B` sequences, `I` inputs, `H` hidden units and, where `w_hr` is given, `P` projected ones
    (else `P = H`), time-major:

    .. math::
        (i, f, g, o) &= W_{ih} x_t + b_{ih} + W_{hh} \tilde h_{t-1} + b_{hh} \\
        c_t &= \sigma(f) \odot \tilde c_{t-1} + \sigma(i) \odot \tanh(g) + \text{c\_tap}_t \\
        h_t &= W_{hr} (\sigma(o) \odot \tanh(c_t)) + \text{h\_tap}_t

    where the tilde is `scale_grad`: the value is that of the state, its gradient is multiplied by the keep.
    No keep changes a bit of the forward pass.

    Args:
        x: `(T, B, I)`, any floating dtype.
        hx: `(h_0, c_0)`, `(B, P)` and `(B, H)`. Beside a 16-bit x, c_0 may be float32, and c then is.
        w_ih: `(4H, I)`, gates in the order i, f, g, o.
        w_hh: `(4H, P)`.
        b_ih: `(4H,)`, or None together with `b_hh`.
        b_hh: `(4H,)`, or None.
        w_hr: `(P, H)`, the projection, or None.
        lengths: `(B,)` integers, 1 ≤ length ≤ T, on any device: the steps that each sequence has. What lies
            beyond reaches nothing, not even as NaN.
        reverse: run from the last (valid) step to the first.
        h_keep: `(T,)` or `(T, B)` in [0, 1]: factor on the gradient from step t's gates to the state before
            it. `h_keep[t]` belongs to the step that reads `x[t]`, in either direction; the first step's acts
            on h_0.
        c_keep: likewise, on the carry from `c_t` to the cell before it.
        h_tap: `(T, B, P)`, added to `h_t`: zeros whose gradient is the total dL/dh_t.
        c_tap: `(T, B, H)`, added to `c_t`: zeros whose gradient is the total dL/dc_t.
        return_cells: also return `c_t` of every step.
        memory: `"fast"` keeps every step for the backward pass; `"low"` keeps less and computes again.
        backend: the backend that must serve the call; None takes the fastest that can.

    Returns:
        `(y, (h_n, c_n))` or `(y, (h_n, c_n), c)`: y `(T, B, P)` and c `(T, B, H)`, 0 beyond each length; h_n
        `(B, P)` and c_n `(B, H)`, after the last valid step in the direction of the run.

    Raises:
        TypeError: if an argument has the wrong type, or a tensor the wrong dtype.
        ValueError: if a shape, device, length, keep, choice or backend's name is wrong; if a keep requires a
            gradient; if only one bias is given. The values of keeps, and of lengths by the reference, are
            checked on the CPU only, and not in compiled graphs or transforms.
        RuntimeError: if no backend, or not the named one, can serve the call, with the reasons.

    Source: Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000, no peepholes, as in
    `torch.nn.LSTM`; keeps after Algorithm 1 of h-detach (arXiv 1810.03023).
    """
    arguments = {
        "x": x,
        "hx": hx,
        "w_ih": w_ih,
        "w_hh": w_hh,
        "b_ih": b_ih,
        "b_hh": b_hh,
        "w_hr": w_hr,
        "lengths": lengths,
        "reverse": reverse,
        "h_keep": h_keep,
        "c_keep": c_keep,
        "h_tap": h_tap,
        "c_tap": c_tap,
        "return_cells": return_cells,
        "memory": memory,
    }
    return serve(prepare("lstm", arguments), backend)
