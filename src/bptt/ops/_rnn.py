from torch import Tensor

from ._check import prepare
from ._dispatch import serve


def rnn(
    x: Tensor,
    h_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    nonlinearity: str = "tanh",
    lengths: Tensor | None = None,
    reverse: bool = False,
    h_keep: Tensor | None = None,
    h_tap: Tensor | None = None,
    memory: str = "fast",
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    r"""An Elman RNN over a whole sequence, with control of its gradient path.

    .. math::
        h_t = \phi(W_{ih} x_t + b_{ih} + W_{hh} \tilde h_{t-1} + b_{hh}) + \text{h\_tap}_t

    where the tilde scales the gradient by `h_keep` and changes no value. There is no carry, so blocking the
    path truncates backpropagation.

    Args:
        x: `(T, B, I)`, any floating dtype.
        h_0: `(B, H)`.
        w_ih: `(H, I)`.
        w_hh: `(H, H)`.
        b_ih: `(H,)`, or None together with `b_hh`.
        b_hh: `(H,)`, or None.
        nonlinearity: φ, `"tanh"` or `"relu"`.
        lengths: `(B,)` integers, 1 ≤ length ≤ T, on any device. What lies beyond reaches nothing.
        reverse: run from the last (valid) step to the first.
        h_keep: `(T,)` or `(T, B)` in [0, 1]: factor on the gradient from step t to the state before it.
        h_tap: `(T, B, H)`, added to `h_t`: zeros whose gradient is the total dL/dh_t.
        memory: `"fast"` keeps every step for the backward pass; `"low"` keeps less and computes again.
        backend: the backend that must serve the call; None takes the fastest that can.

    Returns:
        `(y, h_n)`: y `(T, B, H)`, 0 beyond each length; h_n `(B, H)`, after the last valid step.

    Raises:
        TypeError: if an argument has the wrong type, or a tensor the wrong dtype.
        ValueError: if a shape, device, length, keep, choice or backend's name is wrong; if a keep requires a
            gradient; if only one bias is given. The values of keeps, and of lengths by the reference, are
            checked on the CPU only, and not in compiled graphs or transforms.
        RuntimeError: if no backend, or not the named one, can serve the call, with the reasons.

    Source: Elman 1990, as in `torch.nn.RNN`.
    """
    arguments = {
        "x": x,
        "h_0": h_0,
        "w_ih": w_ih,
        "w_hh": w_hh,
        "b_ih": b_ih,
        "b_hh": b_hh,
        "nonlinearity": nonlinearity,
        "lengths": lengths,
        "reverse": reverse,
        "h_keep": h_keep,
        "h_tap": h_tap,
        "memory": memory,
    }
    return serve(prepare("rnn", arguments), backend)
