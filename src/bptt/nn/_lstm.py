from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .. import ops
from ..detach import Detach
from ._layers import Part, Recurrent, Run
from ._paths import PathMap

State = tuple[Tensor, Tensor]


class LSTM(Recurrent):
    r"""`torch.nn.LSTM` with control of its gradient paths through time.

    The same arguments, weights, `state_dict`, outputs and errors; what differs is listed in the documentation
    ("What differs from torch.nn"). With `T` steps, `B` sequences, `I` inputs, `H` hidden units, `P` projected
    ones (`P = H` without a projection), `L` layers and `D` directions:

    .. math::
        (i, f, g, o) &= W_{ih} x_t + b_{ih} + W_{hh} \tilde h_{t-1} + b_{hh} \\
        c_t &= \sigma(f) \odot \tilde c_{t-1} + \sigma(i) \odot \tanh(g) \\
        h_t &= W_{hr} (\sigma(o) \odot \tanh(c_t))

    The tilde has the value of the state and its gradient times a keep: see `bptt.Detach`.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        bias: whether there are `b_ih` and `b_hh`.
        batch_first: whether padded input and output are `(B, T, ·)` instead of `(T, B, ·)`. States, keeps and
            taps are not concerned.
        dropout: probability of zeroing an output between two layers, in training.
        bidirectional: whether D is 2.
        proj_size: P, or 0 for no projection.
        device: of the parameters.
        dtype: of the parameters.
        detach: which gradient paths to block, in training; the attribute of that name may be set at any time.

    Raises:
        TypeError, ValueError: as `torch.nn.LSTM` does; TypeError if `detach` is no `Detach`.

    Example:
        >>> import torch, bptt
        >>> lstm = bptt.nn.LSTM(8, 32, num_layers=2, detach=bptt.Detach(h=0.25))
        >>> y, (h_n, c_n) = lstm(torch.randn(100, 4, 8))
        >>> y.shape, h_n.shape
        (torch.Size([100, 4, 32]), torch.Size([2, 4, 32]))

    Source: Kanuparthi et al., "h-detach", ICLR 2019 (arXiv 1810.03023), Algorithm 1.
    """

    _kind = "LSTM"
    _tap_paths = ("h", "c")

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
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )
        self.detach = detach

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        *,
        lengths: Tensor | None = None,
        keeps: PathMap | None = None,
        taps: PathMap | None = None,
        return_cells: bool = False,
    ) -> Any:
        """Run the sequences through every layer.

        Args:
            input: `(T, B, I)`, `(B, T, I)` with `batch_first`, `(T, I)` for a single sequence, or packed.
            hx: `(h_0, c_0)` of shapes `(L·D, B, P)` and `(L·D, B, H)`, without B for a single sequence; zeros
                if None.
            lengths: `(B,)` integers on any device, the steps that each padded sequence has. The output beyond
                is 0, the states are those after the last valid step, and what the padding holds reaches
                nothing.
            keeps: maps (layer, direction) to a tensor, the keep of h, or to a pair such as
                `bptt.Keeps(h, c)`, each `(T,)` or `(T, B)`: factors in [0, 1] on the gradient from step t to
                the state before it. Used instead of `detach`, in `eval()` too; a path without a keep is open.
            taps: maps (layer, direction) to a tensor, the tap of h, or to `bptt.nn.Taps(h, c)`, `(T, B, P)`
                and `(T, B, H)`: zeros whose gradients are the total dL/dh_t and dL/dc_t.
            return_cells: also return `c_t` of every step of the last layer.

            Keeps and taps are time-major, also with `batch_first`; their columns are the sequences in the
            order in which the caller packed them, and B is 1 for a single sequence.

        Returns:
            `(y, (h_n, c_n))`, or `(y, (h_n, c_n), c)` with `return_cells`: y with D·P features and c with
            D·H, lying as the input does; h_n and c_n in the shapes of hx.

        Raises:
            ValueError, RuntimeError: as `torch.nn.LSTM` does; ValueError for a key, path, shape or length
                that does not fit, and for `lengths` beside packed input.
            TypeError: if keeps or taps hold anything but tensors, or return_cells is no bool.
        """
        if not isinstance(return_cells, bool):
            raise TypeError(f"return_cells must be a bool, got {type(return_cells).__name__}")
        y, state, cells = self._run(input, hx, lengths, keeps, taps, cells=return_cells)
        return (y, state, cells) if return_cells else (y, state)

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """`(L·D, B, H)`."""
        layers, batch, _ = self.get_expected_hidden_size(input, batch_sizes)
        return layers, batch, self.hidden_size

    def check_forward_args(
        self,
        input: Tensor,
        hidden: Tensor | State,
        batch_sizes: Tensor | None,
    ) -> None:
        """Raise if the sizes of the input or of the states are wrong."""
        self.check_input(input, batch_sizes)
        sizes = self.get_expected_hidden_size, self.get_expected_cell_size
        for index, size in enumerate(sizes):
            message = f"Expected hidden[{index}] size {{}}, got {{}}"
            self.check_hidden_size(hidden[index], size(input, batch_sizes), message)

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """Both states with their sequences in another order."""
        return hx if permutation is None else tuple(state.index_select(1, permutation) for state in hx)

    def _split(self, hx: Any) -> tuple[Tensor, ...]:
        states = hx[0], hx[1]
        if isinstance(hx, tuple | list) and len(hx) != 2:
            raise RuntimeError("lstm expects two hidden states")
        return states

    def _join(self, states: Sequence[Tensor]) -> State:
        h, c = states
        return h, c

    def _zeros(self, x: Tensor) -> tuple[Tensor, ...]:
        (h,) = super()._zeros(x)
        return h, x.new_zeros(x.shape[1], self.hidden_size) if self.proj_size else h

    def _dims_text(self, states: Sequence[Tensor]) -> tuple[str, str]:
        return "hx and cx", f"({', '.join(f'{state.dim()}-D' for state in states)}) tensors"

    def _recur(self, part: Part) -> Run:
        h, c = part.states
        w_ih, w_hh, b_ih, b_hh, w_hr = part.weights
        y, (h_n, c_n), *every_cell = ops.lstm(
            part.x,
            (h, c),
            w_ih,
            w_hh,
            b_ih,
            b_hh,
            w_hr=w_hr,
            lengths=part.lengths,
            reverse=part.reverse,
            h_keep=part.keeps.h,
            c_keep=part.keeps.c,
            h_tap=part.taps.h,
            c_tap=part.taps.c,
            return_cells=part.cells,
        )
        # Under autocast the op's c_n is float32; torch's kernels return every state in the output's dtype.
        return Run(y, (h_n, c_n.to(y.dtype)), *every_cell)
