from torch import Tensor

from ._check import prepare
from ._dispatch import serve


def gru(
    x: Tensor,
    h_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
    h_keep: Tensor | None = None,
    c_keep: Tensor | None = None,
    h_tap: Tensor | None = None,
    memory: str = "fast",
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    r"""A GRU over a whole sequence, with control of its gradient paths.

    .. math::
        r_t &= \sigma(W_{ir} x_t + b_{ir} + W_{hr} \tilde h_{t-1} + b_{hr}) \\
        z_t &= \sigma(W_{iz} x_t + b_{iz} + W_{hz} \tilde h_{t-1} + b_{hz}) \\
        n_t &= \tanh(W_{in} x_t + b_{in} + r_t \odot (W_{hn} \tilde h_{t-1} + b_{hn})) \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot \hat h_{t-1} + \text{h\_tap}_t

    where the tilde scales the gradient by `h_keep` and the hat by `c_keep`; neither changes a value.

    Args:
        x: `(T, B, I)`, any floating dtype.
        h_0: `(B, H)`.
        w_ih: `(3H, I)`, gates in the order r, z, n.
        w_hh: `(3H, H)`.
        b_ih: `(3H,)`, or None together with `b_hh`.
        b_hh: `(3H,)`, or None.
        lengths: `(B,)` integers, 1 ≤ length ≤ T, on any device. What lies beyond reaches nothing.
        reverse: run from the last (valid) step to the first.
        h_keep: `(T,)` or `(T, B)` in [0, 1]: factor on the gradient through the three gates of step t.
        c_keep: likewise, on the carry `z_t ⊙ h_{t-1}` alone.
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

    Source: Cho et al. 2014 (arXiv 1406.1078) in the variant of `torch.nn.GRU`, whose reset gate acts after
    the recurrent product.
    """
    arguments = {
        "x": x,
        "h_0": h_0,
        "w_ih": w_ih,
        "w_hh": w_hh,
        "b_ih": b_ih,
        "b_hh": b_hh,
        "lengths": lengths,
        "reverse": reverse,
        "h_keep": h_keep,
        "c_keep": c_keep,
        "h_tap": h_tap,
        "memory": memory,
    }
    return serve(prepare("gru", arguments), backend)
