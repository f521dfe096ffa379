import torch

from .. import ops
from ..detach import Detach
from ._layers import Part, Run
from ._single_state import SingleState


class GRU(SingleState):
    r"""`torch.nn.GRU` with control of its gradient paths through time.

    The same arguments, weights, `state_dict`, outputs and errors; what differs is listed in the documentation
    ("What differs from torch.nn"). Letters as in `bptt.nn.LSTM`:

    .. math::
        r_t &= \sigma(W_{ir} x_t + b_{ir} + W_{hr} \tilde h_{t-1} + b_{hr}) \\
        z_t &= \sigma(W_{iz} x_t + b_{iz} + W_{hz} \tilde h_{t-1} + b_{hz}) \\
        n_t &= \tanh(W_{in} x_t + b_{in} + r_t \odot (W_{hn} \tilde h_{t-1} + b_{hn})) \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot \hat h_{t-1}

    The tilde has the value of the state and its gradient times the keep of h, the hat times that of c.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        bias: whether there are `b_ih` and `b_hh`.
        batch_first: whether padded input and output are `(B, T, ·)` instead of `(T, B, ·)`. States, keeps and
            taps are not concerned.
        dropout: probability of zeroing an output between two layers, in training.
        bidirectional: whether D is 2.
        proj_size: 0; torch's place for a projection, which only an LSTM can have.
        device: of the parameters.
        dtype: of the parameters.
        detach: which gradient paths to block, in training; the attribute of that name may be set at any time.

    Raises:
        TypeError, ValueError: as `torch.nn.GRU` does; TypeError if `detach` is no `Detach`.
    """

    _kind = "GRU"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        detach: Detach | None = None,
    ) -> None:
        self._check_detach(detach)
        if proj_size != 0:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.detach = detach

    def _recur(self, part: Part) -> Run:
        (h,) = part.states
        w_ih, w_hh, b_ih, b_hh, _ = part.weights
        y, h_n = ops.gru(
            part.x,
            h,
            w_ih,
            w_hh,
            b_ih,
            b_hh,
            lengths=part.lengths,
            reverse=part.reverse,
            h_keep=part.keeps.h,
            c_keep=part.keeps.c,
            h_tap=part.taps.h,
        )
        return Run(y, (h_n,))
