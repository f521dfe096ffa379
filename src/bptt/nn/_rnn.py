import torch

from .. import ops
from ..detach import Detach
from ._layers import Part, Run
from ._single_state import SingleState


class RNN(SingleState):
    r"""`torch.nn.RNN` with control of its gradient path through time.

    The same arguments, weights, `state_dict`, outputs and errors; what differs is listed in the documentation
    ("What differs from torch.nn"). Letters as in `bptt.nn.LSTM`:

    .. math::
        h_t = \phi(W_{ih} x_t + b_{ih} + W_{hh} \tilde h_{t-1} + b_{hh})

    The tilde has the value of the state and its gradient times the keep of h. There is no carry.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        nonlinearity: φ, `"tanh"` or `"relu"`.
        bias: whether there are `b_ih` and `b_hh`.
        batch_first: whether padded input and output are `(B, T, ·)` instead of `(T, B, ·)`. States, keeps and
            taps are not concerned.
        dropout: probability of zeroing an output between two layers, in training.
        bidirectional: whether D is 2.
        proj_size: 0; torch's place for a projection, which only an LSTM can have.
        device: of the parameters.
        dtype: of the parameters.
        detach: with which probability `h` to block the path, in training; its `c` must be 0. The attribute of
            that name may be set at any time.

    Raises:
        TypeError, ValueError: as `torch.nn.RNN` does; TypeError if `detach` is no `Detach`, ValueError if its
            `c` is not 0.
    """

    _kind = "RNN"
    _keep_paths = ("h",)
    _dims_suffix = " tensor"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
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
        modes = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}
        if nonlinearity not in modes:
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(
            modes[nonlinearity],
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
        self.nonlinearity = nonlinearity
        self.detach = detach

    def _recur(self, part: Part) -> Run:
        (h,) = part.states
        w_ih, w_hh, b_ih, b_hh, _ = part.weights
        y, h_n = ops.rnn(
            part.x,
            h,
            w_ih,
            w_hh,
            b_ih,
            b_hh,
            nonlinearity=self.nonlinearity,
            lengths=part.lengths,
            reverse=part.reverse,
            h_keep=part.keeps.h,
            h_tap=part.taps.h,
        )
        return Run(y, (h_n,))
