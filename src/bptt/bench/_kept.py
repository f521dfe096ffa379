"""The memory that waits for the backward pass."""

import torch
from torch import Tensor, UntypedStorage

from ._case import Case
from ._data import Data
from ._rivals import Contender


def bytes_kept(case: Case, data: Data, side: Contender) -> float:
    """What a forward pass keeps for the backward pass, in numbers per step, sequence and hidden unit.

    Every memory that the graph refers to, once, without the weights and the input: bytes / (T·B·H·4).

    Args:
        case: its sizes.
        data: the input.
        side: who runs.
    """
    storages: dict[int, UntypedStorage] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return tensor

    with side.context(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = side.layer(data.x)
    given = {tensor.untyped_storage().data_ptr() for tensor in (*side.parameters, data.leaf)}
    total = sum(storage.nbytes() for address, storage in storages.items() if address not in given)
    del result
    return total / (case.shape.T * case.shape.B * case.shape.H * data.leaf.element_size())
