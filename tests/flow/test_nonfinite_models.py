"""The first value that is not finite outside recurrent layers, and what stays as it was."""

import gc
import weakref

import pytest
import torch
from helpers.nonfinite import B, H, I, T, data, model, overflow, place, squares, steep
from helpers.twins import KINDS
from torch import nn
from torch.utils.checkpoint import checkpoint

import bptt
from bptt import flow

LIBRARIES = pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])


@LIBRARIES
@pytest.mark.parametrize("kind", KINDS)
def test_all_finite_is_none(kind, library):
    of = model(kind, library, bidirectional=True, dropout=0.5)
    assert flow.first_nonfinite(of, data(T, B, I), squares) is None


@LIBRARIES
def test_a_layer_after_is_found_in_either_pass(library):
    of, x = model("GRU", library), data(T, B, I)
    of.output.weight.data.fill_(1e35)
    found = flow.first_nonfinite(of, x, lambda y, _: steep(y[2, 1], 1e5))
    assert place(found) == ("backward", "output", "core", 2, 1)
    assert found.largest["gradient of the output"] == pytest.approx(1e5)
    assert "with respect to the output of 'core' at step 2 of sequence 1" in found.sentence
    overflow(of)
    found = flow.first_nonfinite(of, x, squares)
    assert place(found)[:3] == ("forward", "output", "output")
    assert found.before["input 0"].shape == (H,)


@pytest.mark.parametrize("first", [False, True])
def test_a_layer_before_tells_the_gradient_of_the_states_after_it(first):
    torch.manual_seed(1)
    of = nn.Sequential(nn.Linear(I, I), bptt.nn.RNN(I, H, batch_first=first, bias=False))
    of[1].weight_ih_l0.data.fill_(1e35)
    of[1].weight_hh_l0.data.zero_()
    of[0].weight.data.zero_()  # tanh' = 1
    of[0].bias.data.zero_()
    x = data(T, B, I).transpose(0, 1) if first else data(T, B, I)
    weight = 100 * torch.rand(*x.shape[:2], 1)
    weight[(3, 2) if first else (2, 3)] = 1e5
    found = flow.first_nonfinite(of, x, lambda y, _: (weight * y).sum())
    assert place(found) == ("backward", "output", "0", 2, 3)
    assert torch.equal(found.before["gradient of h of layer 0 of '1'"], torch.full((H,), 1e5))
    assert torch.equal(found.before["output"], torch.zeros(I))


def test_a_loss_is_at_fault_in_either_pass():
    of, x = model("RNN"), data(T, B, I)
    found = flow.first_nonfinite(of, x, lambda y, _: (0 * y).sum().log())
    assert place(found) == ("forward", "loss", "", None, None)
    assert found.value == -torch.inf
    assert found.sentence.startswith(
        "the first value that is not finite is the loss in the forward pass: -inf; "
    )
    weight = torch.ones(T, B, 1)
    weight[4, 3] = 0.0
    found = flow.first_nonfinite(of, x, lambda y, _: (weight * y.square()).sqrt().sum())
    assert place(found) == ("backward", "output", "", 4, 3)


def test_models_without_recurrence_and_code_between_modules_are_looked_at():
    plain = nn.Sequential(nn.Linear(I, H), nn.ReLU(inplace=True), nn.Linear(H, 2))
    x = data(B, I)
    assert flow.first_nonfinite(plain, x, squares) is None
    plain[2].weight.data.fill_(3e38)
    plain[0].bias.data.fill_(9.0)
    assert place(flow.first_nonfinite(plain, x, squares)) == ("forward", "output", "2", None, 0)

    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.LSTMCell(I, H), nn.Linear(H, 1)

        def forward(self, x):
            h = c = torch.zeros(x.shape[1], H)
            for t, step in enumerate(x):
                h, c = self.cell(step, (h, c))
                y = self.out(h / (t - 4))
            return y

    found = flow.first_nonfinite(Between(), data(T, B, I), squares)
    assert (found.what, found.name, found.call, found.sequence) == ("input", "out", 4, 0)
    assert "the input of 'out' in its call 4 of sequence 0" in found.sentence


def test_a_parameter_s_gradient_comes_last():
    of = nn.Linear(I, 1, bias=False)
    found = flow.first_nonfinite(of, torch.full((B, I), 1e20), lambda y, _: steep(y, 1e20))
    assert place(found) == ("backward", "parameter", "weight", None, None)
    of.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="loss must return a scalar with a gradient"):
        flow.first_nonfinite(of, torch.full((B, I), 1e20), lambda y, _: steep(y, 1e20))


@LIBRARIES
@pytest.mark.parametrize("broken", ["nothing", "value", "call"])
def test_nothing_of_the_model_changes(library, broken):
    of, x = model("LSTM", library, dropout=0.5), data(T, B, I).requires_grad_()
    squares(of(x), None).backward()
    if broken == "value":
        of.output.bias.data.fill_(torch.inf)
    weights = {name: p.clone() for name, p in of.state_dict().items()}
    before = {name: p.grad.clone() for name, p in of.named_parameters()}
    leaf, random, copies = x.grad.clone(), torch.get_rng_state(), []

    def call(m, x):
        copies.append(weakref.ref(m.core.weight_hh_l0))
        if broken == "call":
            raise KeyError("mine")
        return m(x)

    if broken == "call":
        with pytest.raises(KeyError, match="mine"):
            flow.first_nonfinite(of, x, squares, call=call)
    else:
        found = flow.first_nonfinite(of, x, squares, call=call)
        assert (found is None) == (broken == "nothing")
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(weights[name], p) for name, p in of.state_dict().items())
    assert all(torch.equal(before[name], p.grad) for name, p in of.named_parameters())
    assert torch.equal(leaf, x.grad)
    assert type(of.core) is library.LSTM
    assert of.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in of.modules())
    gc.collect()
    assert all(copy() is None for copy in copies)  # nor does anything of the copy stay


def test_an_error_that_follows_from_the_value_is_not_raised():
    def call(m, x):
        try:
            return m(x)
        except Exception as error:
            raise RuntimeError("the model must run") from error

    of = model("GRU")
    overflow(of)
    found = flow.first_nonfinite(of, data(T, B, I), squares, call=call)
    assert place(found)[:3] == ("forward", "output", "output")


def test_a_model_that_runs_parts_again_is_followed():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.core = bptt.nn.RNN(I, H, bias=False)

        def forward(self, x):
            return checkpoint(self.core, x, use_reentrant=False)[0]

    of = Checkpointed()
    x = data(40, B, I)
    assert flow.first_nonfinite(of, x, squares) is None
    of.core.weight_hh_l0.data.copy_(1e3 * torch.eye(H))
    of.core.weight_ih_l0.data.zero_()
    found = flow.first_nonfinite(of, x, lambda y, _: y[-1, 2].sum())
    assert place(found) == ("backward", "state h", "core", 40 - 1 - 13, 2)
    assert found.call == 0


def test_a_compiled_model_is_looked_at_as_it_was_written():
    of = model("GRU")
    of.core.bias_ih_l1.data.fill_(2e38)
    of.core.bias_hh_l1.data.fill_(2e38)
    compiled = torch.compile(of, backend="eager", fullgraph=True)
    found = flow.first_nonfinite(compiled, data(T, B, I), squares)
    assert (found.what, found.layer, found.gate, found.name) == ("pre-activation", 1, "r", "_orig_mod.core")
    torch._dynamo.reset()
