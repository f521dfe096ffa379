"""From the caller's layout of sequences to time-major `(T, B, …)` tensors, and back."""

from typing import NamedTuple

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


class Layout(NamedTuple):
    """How the sequences lie.

    Attributes:
        batch_dim: where a padded batch has its sequences, 0 or 1.
        batched: whether there is a batch dimension at all.
        packed: the input, if it is a packed one. Its sequences are then run in their packed (sorted) order.
    """

    batch_dim: int
    batched: bool = True
    packed: PackedSequence | None = None

    @property
    def batch_sizes(self) -> Tensor | None:
        return None if self.packed is None else self.packed.batch_sizes

    def with_batch(self, data: Tensor) -> Tensor:
        """The tensor of the input, with a batch dimension."""
        return data if self.batched else data.unsqueeze(self.batch_dim)

    def open(self, data: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """`(T, B, I)` and the lengths, of what `with_batch` returned."""
        if self.packed is not None:
            return pad_packed_sequence(PackedSequence(data, self.packed.batch_sizes))
        return (data.transpose(0, 1) if self.batch_dim == 0 else data), lengths

    def close(self, y: Tensor, lengths: Tensor | None) -> Tensor | PackedSequence:
        """`(T, B, F)` as the caller's input lies."""
        if self.packed is not None and lengths is not None:
            data = pack_padded_sequence(y, lengths).data
            _, batch_sizes, sorted_indices, unsorted_indices = self.packed
            return PackedSequence(data, batch_sizes, sorted_indices, unsorted_indices)
        if not self.batched:
            return y.squeeze(1)
        return y.transpose(0, 1) if self.batch_dim == 0 else y

    def open_columns(self, tensor: Tensor | None) -> Tensor | None:
        """What the caller gives per sequence, along dimension 1 if there is one, in the order of the run."""
        if tensor is None or tensor.dim() < 2 or self.packed is None or self.packed.sorted_indices is None:
            return tensor
        return tensor.index_select(1, self.packed.sorted_indices)

    def open_state(self, state: Tensor) -> Tensor:
        """`(L·D, B, ·)` in the order of the run."""
        if self.packed is None or self.packed.sorted_indices is None:
            return state
        return state.index_select(1, self.packed.sorted_indices)

    def close_state(self, state: Tensor) -> Tensor:
        """`(L·D, B, ·)` in the caller's order, without the batch dimension that the input lacks."""
        if self.packed is not None and self.packed.unsorted_indices is not None:
            return state.index_select(1, self.packed.unsorted_indices)
        return state if self.batched else state.squeeze(1)
