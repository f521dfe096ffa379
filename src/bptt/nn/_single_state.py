"""What GRU and RNN share beyond `Recurrent`: a state of one tensor, and so the same forward pass."""

from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ._layers import Recurrent
from ._paths import PathMap


class SingleState(Recurrent):
    """A stack of recurrent layers whose only state is h."""

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        keeps: PathMap | None = None,
        taps: PathMap | None = None,
    ) -> Any:
        """Run the sequences through every layer.

        Args:
            input: as for `bptt.nn.LSTM`.
            hx: `(L·D, B, H)`, without B for a single sequence; zeros if None.
            lengths: as for `bptt.nn.LSTM`.
            keeps: as for `bptt.nn.LSTM`. A GRU's keep of c acts on the carry `z_t ⊙ h_{t-1}` alone; an RNN
                has a keep of h only.
            taps: as for `bptt.nn.LSTM`, of h only.

        Returns:
            `(y, h_n)`: y with D·H features, lying as the input does; h_n in the shape of hx.

        Raises:
            ValueError, RuntimeError, TypeError: as the namesake in `torch.nn` does, and as `bptt.nn.LSTM`
                does for lengths, keeps and taps.
        """
        y, state, _ = self._run(input, hx, lengths, keeps, taps)
        return y, state
