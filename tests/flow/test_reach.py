"""Which inputs an output depends on: brute force, closed forms, and what cannot be reached."""

import pytest
import torch
from torch import nn

import bptt
from bptt import flow, tasks

T, B, I, O = 6, 3, 2, 4


def data(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def seeded(make):
    torch.manual_seed(1)
    return make().double()


class Convolution(nn.Module):
    """Two causal convolutions over three steps each."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(I, 5, 3), nn.Conv1d(5, O, 3)

    def forward(self, x):
        x = nn.functional.pad(x.permute(1, 2, 0), (2, 0))
        x = nn.functional.pad(self.first(x).tanh(), (2, 0))
        return self.second(x).permute(2, 0, 1)


class Transformer(nn.Module):
    """One causal layer of attention."""

    def __init__(self):
        super().__init__()
        self.widen = nn.Linear(I, O)
        self.layer = nn.TransformerEncoderLayer(O, 2, 8, dropout=0.0)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(len(x), dtype=x.dtype)
        return self.layer(self.widen(x), mask)


MODELS = {
    "lstm": lambda: bptt.nn.LSTM(I, O),
    "torch's": lambda: nn.GRU(I, O, num_layers=2),
    "both ways": lambda: nn.RNN(I, O // 2, bidirectional=True),
    "convolution": Convolution,
    "transformer": Transformer,
}


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_whole_jacobian(name):
    model, x = seeded(MODELS[name]), data(T, B, I)
    found = flow.reach(model, x, at=[0, 3, -1])
    assert (found.at, found.exact, found.norms.shape) == ((0, 3, T - 1), True, (3, T, B))

    def output(x):
        y = model(x)
        return y[0] if isinstance(y, tuple) else y

    jacobian = torch.autograd.functional.jacobian(output, x)  # (T, B, O, T, B, I)
    for row, step in enumerate(found.at):
        for b in range(B):
            expected = jacobian[step, b, :, :, b].square().sum((0, 2)).sqrt()
            torch.testing.assert_close(found.norms[row, :, b], expected)
    assert (found.norms[1, 4:].abs().max() > 0) == (name == "both ways")  # nothing else looks ahead
    assert (found.norms[2, 0].abs().max() > 0) == (name != "convolution")  # five steps is as far as it sees


def test_a_linear_recurrence_has_powers_of_its_matrix():
    rnn = seeded(lambda: nn.RNN(O, O, nonlinearity="relu"))
    matrix = torch.diag(torch.tensor([0.5, 0.7, 0.9, 1.1], dtype=torch.float64))
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(matrix)
        rnn.weight_ih_l0.copy_(torch.eye(O))
        rnn.bias_ih_l0.fill_(1.0)
    found = flow.reach(rnn, torch.ones(T, B, O, dtype=torch.float64))
    expected = torch.stack([torch.linalg.matrix_power(matrix, T - 1 - t).norm() for t in range(T)])
    torch.testing.assert_close(found.norms[0], expected[:, None].expand(T, B))


def test_tokens_are_reached_through_their_embedding():
    model = seeded(
        lambda: bptt.nn.SequenceModel(nn.GRU(I, 5), O, embed=nn.Embedding(7, I), readout="each", features=5)
    )
    tokens = torch.randint(7, (T, B))
    found = flow.reach(model, tokens, at=[-1])
    inner = seeded(lambda: bptt.nn.SequenceModel(nn.GRU(I, 5), O, readout="each", features=5))
    inner.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("embed")})
    expected = flow.reach(inner, model.embed(tokens).detach(), at=[-1])
    torch.testing.assert_close(found.norms, expected.norms)


def test_a_batch_of_a_task_and_an_output_without_steps():
    task = tasks.adding(T, train_size=4, valid_size=2, test_size=2)
    model = bptt.nn.SequenceModel(bptt.nn.LSTM(2, O), 1, readout="last")
    found = flow.reach(model, task.batch("train", torch.arange(3)))
    assert (found.at, found.norms.shape) == (None, (1, T, 3))
    assert (found.norms > 0).all()


def test_batch_first_is_the_same():
    model, x = seeded(lambda: nn.LSTM(I, O)), data(T, B, I)
    first = nn.LSTM(I, O, batch_first=True).double()
    first.load_state_dict(model.state_dict())
    for at in ([1, -1], None):
        turned = flow.reach(first, x.transpose(0, 1), at=at, batch_first=True)
        torch.testing.assert_close(turned.norms, flow.reach(model, x, at=at).norms)


def test_probes_estimate_and_take_no_part_in_randomness():
    model, x = seeded(lambda: nn.LSTM(I, 40)), data(T, B, I)
    state = torch.get_rng_state()
    few = flow.reach(model, x)
    many = flow.reach(model, x, probes=4000)
    assert torch.equal(torch.get_rng_state(), state)
    assert not few.exact
    assert not many.exact
    whole = torch.autograd.functional.jacobian(lambda x: model(x)[0][-1], x)  # (B, O, T, B, I)
    for b in range(B):
        exact = whole[b, :, :, b].square().sum((0, 2)).sqrt()
        torch.testing.assert_close(many.norms[0, :, b], exact, rtol=0.05, atol=1e-6)
        torch.testing.assert_close(few.norms[0, :, b], exact, rtol=0.8, atol=1e-6)
        torch.testing.assert_close(flow.reach(model, x, probes=0).norms[0, :, b], exact)
    assert (few.probes, many.probes, flow.reach(model, x, probes=0).probes) == (16, 4000, None)


def test_the_cost_grows_with_the_steps_asked_for(monkeypatch):
    passes = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: passes.append(1) or grad(*a, **k))
    flow.reach(seeded(lambda: nn.LSTM(I, O)), data(50, B, I), at=[7, -1])
    assert len(passes) == 2 * O


@pytest.mark.parametrize(
    ("model", "x", "more", "message"),
    [
        (nn.Linear(I, O), data(T, B, I).float(), {"at": [T]}, f"-{T} <= step < {T}, got {T}"),
        (nn.Linear(I, O), data(B, I).float(), {"at": [0]}, r"at must be None for an output \(B, O\)"),
        (nn.Linear(I, O), data(2, T, B, I).float(), {}, r"must be \(T, B, O\) or \(B, O\), got shape"),
        (nn.Linear(I, O), data(T, B, I).float(), {"probes": -1}, "probes must be at least 0, got -1"),
        (nn.Linear(I, O), data(T, B, I).float(), {"at": []}, "at must hold steps of the output, got none"),
        (nn.LSTM(I, O), data(T, I).float(), {}, r"with a dimension of sequences, got \(6, 2\)"),
        (nn.Embedding(9, O), torch.ones(T, dtype=torch.long), {}, "with a dimension of sequences"),
        (nn.Identity(), torch.ones(T, B, dtype=torch.long), {}, "tokens that no nn.Embedding"),
    ],
)
def test_what_cannot_be_asked_is_named(model, x, more, message):
    with pytest.raises(ValueError, match=message):
        flow.reach(model, x, **more)
