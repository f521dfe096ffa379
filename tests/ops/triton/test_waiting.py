"""Nothing between a call and its gradients makes the host wait for a device."""

import pytest
import torch
from helpers.problems import INTERPRETED
from torch.utils._python_dispatch import TorchDispatchMode

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")
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
    def __init__(self):
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        masked = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        moved = func.overloadpacket is aten._to_copy and (kwargs or {}).get("device") is not None
        if func.overloadpacket in WAITING or masked or moved:
            self.seen.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("H", [8, 200])
@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn_tanh"])
def test_no_operator_waits(op, low, H, monkeypatch):
    from helpers.gpu_code import launches

    with Watch() as watch:
        assert launches(monkeypatch, op, torch.float32, H, everything=True, low=low)
    assert not watch.seen


def test_waiting_is_noticed():
    x = torch.arange(3.0)
    with Watch() as watch:
        x[0].item()
        x[x > 1]
        x.to("cpu", copy=True)
    assert [func.overloadpacket for func in watch.seen] == [
        aten._local_scalar_dense,
        aten.index,
        aten._to_copy,
    ]
