"""What makes the host wait for a device, and a stand-in for CUDA graphs."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

aten = torch.ops.aten
# Reading a number, a shape that depends on numbers, a copy to another device.
WAITING = {
    aten._local_scalar_dense,
    aten.item,
    aten.is_nonzero,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten.unique_dim,
    aten._unique2,
    aten.bincount,
    aten.repeat_interleave,
    aten._assert_async,
}


class Watch(TorchDispatchMode):
    """Notes the operators that wait."""

    def __init__(self):
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        masked = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        told = kwargs or {}
        cast = told.get("dtype") not in (None, *(arg.dtype for arg in args[:1] if hasattr(arg, "dtype")))
        moved = func.overloadpacket is aten._to_copy and told.get("device") is not None and not cast
        if func.overloadpacket in WAITING or masked or moved:
            self.seen.append(func)
        return func(*args, **(kwargs or {}))


class Tape(TorchDispatchMode):
    """Operators as they came, to be done again on the same memory: nothing of Python is done again."""

    def __init__(self):
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def play(self):
        with torch.no_grad():
            for func, args, kwargs, out in self.calls:
                if func._schema.is_mutable:
                    func(*args, **kwargs)
                    continue
                lie = {storage(tensor) for tensor in tensors((args, kwargs))}
                news = tensors(func(*args, **kwargs))
                for old, new in zip(tensors(out), news, strict=True):
                    if storage(old) not in lie:  # a view is its base, which is as it must be
                        old.copy_(new)


def tensors(tree):
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


def storage(tensor):
    return tensor.untyped_storage().data_ptr()
