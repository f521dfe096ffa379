"""The Triton kernels compiled for GPUs that are not there: they fit, and nothing spills."""

from importlib.util import find_spec

import pytest
import torch
from helpers.problems import INTERPRETED

pytestmark = [
    pytest.mark.skipif(INTERPRETED, reason="interpreted kernels are not compiled"),
    pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton"),
]
SHARED = {
    80: 163 << 10,
    90: 227 << 10,
}  # bytes that a block may have: NVIDIA's tables for A100, H100 and H200
SIZES = {  # sides that are a product's, and others
    torch.bfloat16: [16, 100, 128, 256],
    torch.float16: [33, 128],
    torch.float32: [7, 64, 128],
    torch.float64: [100],
}
SERVED = [(dtype, H) for dtype, sizes in SIZES.items() for H in sizes]


def check(monkeypatch, folder, op, dtype, H, warps, **more):
    from helpers.gpu_code import assemble, launches

    from bptt.ops._triton import _plan

    for capability, most in SHARED.items():
        on_chip = _plan._ON_CHIP if capability != 89 else _plan._ON_SMALL_CHIP
        monkeypatch.setattr(_plan, "_on_chip", lambda _, on_chip=on_chip: on_chip)
        for kernel, how, arguments in launches(monkeypatch, op, dtype, H, **more):
            for count in how.warps[warps]:
                code = assemble(kernel, how, arguments, count, capability, folder)
                assert code.spilled == 0, (kernel.__name__, count, capability, code)
                assert code.shared <= most, (kernel.__name__, count, capability, code)


@pytest.mark.parametrize(("dtype", "H"), SERVED)
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn_tanh"])
def test_with_everything_that_a_call_can_have(op, dtype, H, monkeypatch, tmp_path):
    keep = "TB" if H in (33, 100, 256) else "T"
    check(monkeypatch, tmp_path, op, dtype, H, slice(1), everything=True, keep=keep)


@pytest.mark.slow
@pytest.mark.parametrize(("everything", "keep"), [(False, "T"), (True, "T"), (True, "TB")])
@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize(("dtype", "H"), SERVED)
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_with_any_number_of_warps(op, dtype, H, everything, low, keep, monkeypatch, tmp_path):
    check(monkeypatch, tmp_path, op, dtype, H, slice(None), everything=everything, low=low, keep=keep)


def test_spilling_is_noticed(monkeypatch, tmp_path):
    from helpers.gpu_code import assemble, launches

    kernel, how, arguments = launches(monkeypatch, "lstm", torch.bfloat16, 128, everything=True)[1]
    assert assemble(kernel, how, arguments, 1, 90, tmp_path).spilled > 1000
