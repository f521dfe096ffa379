"""The ops on a GPU give what they give on the CPU."""

import pytest
import torch
from helpers.problems import assert_same, gradients, leaves, run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
KEEPS = {"T": torch.tensor([1.0, 0, 1, 0.5, 1, 0, 1]), "TB": (torch.arange(21).reshape(7, 3) % 4 > 0).float()}


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_equals_the_cpu(op, reverse, keep):
    a = leaves(op)
    on_gpu = {name: tensor.detach().cuda().requires_grad_() for name, tensor in a.items()}
    lengths = torch.tensor([7, 3, 1])
    expected = run(op, a, lengths=lengths, reverse=reverse, h_keep=KEEPS[keep])
    # Lengths may be on any device.
    outputs = run(op, on_gpu, lengths=lengths, reverse=reverse, h_keep=KEEPS[keep].cuda())
    back = {name: tensor.cpu() for name, tensor in outputs.items()}
    assert_same(back, expected)
    assert_same({n: g.cpu() for n, g in gradients(back, on_gpu).items()}, gradients(expected, a))
