"""Nothing between a call and its gradients makes the host wait for a device."""

import pytest
import torch
from helpers.problems import INTERPRETED
from helpers.waits import Watch, aten

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")


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
