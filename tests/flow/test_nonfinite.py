"""The first value that is not finite: where closed forms and a plain loop say that it is."""

import pytest
import torch
from helpers.twins import KINDS
from torch.nn import functional as F

import bptt
from bptt import flow

T, B, I, H = 20, 4, 3, 5
LETTERS = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}
LIBRARIES = pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
DIRECTIONS = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def layer(kind, library=bptt.nn, **more):
    torch.manual_seed(1)
    return getattr(library, kind)(I, H, **more)


def data(*shape, seed=2):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def total(y, _):
    return y.sum()


def empty(kind, library=bptt.nn, **more):
    """A layer whose weights are all 0."""
    of = layer(kind, library, **more)
    with torch.no_grad():
        for weight in of.parameters():
            weight.zero_()
    return of


def rows(of, weight, gate, suffix="_l0"):
    """The part of a weight that makes a gate."""
    kind = of.mode[:3] if of.mode.startswith("RNN") else of.mode
    return getattr(of, f"{weight}{suffix}").detach().chunk(len(LETTERS[kind]))[LETTERS[kind].index(gate)]


def place(found):
    return found.during, found.what, found.gate, found.step, found.sequence


GATES = [(kind, gate) for kind in KINDS for gate in LETTERS[kind]]


@LIBRARIES
@pytest.mark.parametrize(("kind", "gate"), GATES)
def test_an_input_projection_that_overflows_is_found(kind, gate, library):
    of, x = empty(kind, library), torch.zeros(T, B, I)
    rows(of, "weight_ih", gate).fill_(2e38)
    x[7, 2] = 1.0
    found = flow.first_nonfinite(of, x, total)
    assert place(found) == ("forward", "input projection", gate, 7, 2)
    assert found.value == torch.inf
    assert torch.equal(found.before["x"], torch.ones(I))


@pytest.mark.parametrize(("kind", "gate"), GATES)
def test_a_recurrent_projection_that_overflows_is_found(kind, gate):
    of = empty(kind)
    for each, open_by in zip(
        LETTERS[kind], {"LSTM": (20, 0, 20, 20), "GRU": (0, -20, 20), "RNN": (20,)}[kind], strict=True
    ):
        rows(of, "bias_ih", each).fill_(open_by)
    rows(of, "weight_hh", gate).fill_(2e38)
    found = flow.first_nonfinite(of, torch.zeros(T, B, I), total)
    assert place(found) == ("forward", "recurrent projection", gate, 1, 0)
    h = torch.tensor(1.0).tanh().item() if kind == "LSTM" else 1.0
    torch.testing.assert_close(found.before["h"], torch.full((H,), h))
    assert found.largest["h"] == pytest.approx(h)


@DIRECTIONS
@pytest.mark.parametrize(("kind", "gate"), GATES)
def test_a_gate_that_overflows_is_found(kind, gate, reverse):
    of, suffix = empty(kind, bidirectional=True), "_l0_reverse" if reverse else "_l0"
    if gate == "n":
        rows(of, "bias_ih", "r", suffix).fill_(20)  # r ≈ 1
    rows(of, "bias_ih", gate, suffix).fill_(3e38)
    rows(of, "bias_hh", gate, suffix).fill_(3e38)
    found = flow.first_nonfinite(of, torch.zeros(T, B, I), total)
    assert place(found) == ("forward", "pre-activation", gate, T - 1 if reverse else 0, 0)
    assert (found.layer, found.direction) == (0, int(reverse))
    assert found.largest[f"x_{gate}"] == found.largest[f"h_{gate}"] == pytest.approx(3e38)


def steps_of(kind, of, x):
    """Steps of a plain loop: pairs of (what, gate) and (B, ·), the states, and the pre-activations."""
    w_ih, w_hh, b_ih, b_hh = of.parameters()
    h = c = torch.zeros(x.shape[1], H)
    for step in x:
        letters = LETTERS[kind]
        xs = dict(zip(letters, F.linear(step, w_ih, b_ih).chunk(len(letters), -1), strict=True))
        hs = dict(zip(letters, F.linear(h, w_hh, b_hh).chunk(len(letters), -1), strict=True))
        a = {gate: xs[gate] + hs[gate] for gate in letters}
        if kind == "LSTM":
            c = a["f"].sigmoid() * c + a["i"].sigmoid() * a["g"].tanh()
            h = a["o"].sigmoid() * c.tanh()
        elif kind == "GRU":
            a["n"] = xs["n"] + a["r"].sigmoid() * hs["n"]
            h = (1 - a["z"].sigmoid()) * a["n"].tanh() + a["z"].sigmoid() * h
        else:
            h = a["h"].relu()
        states = {"h": h} | ({"c": c} if kind == "LSTM" else {})
        forward = [(("input projection", gate), each) for gate, each in xs.items()]
        forward += [(("recurrent projection", gate), each) for gate, each in hs.items()]
        forward += [(("pre-activation", gate), each) for gate, each in a.items()]
        forward += [(("cell c", None), c)] * (kind == "LSTM") + [(("state h", None), h)]
        yield forward, states, a


def first_of(rows):
    """Of (step, [(what, gate), (B, ·)]) in order: the first that is not finite."""
    for step, series in rows:
        for name, values in series:
            bad = (~values.isfinite()).any(-1)
            if bad.any():
                return *name, step, int(bad.nonzero()[0])
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_forward_pass_it_is_what_a_loop_meets_first(kind):
    places = set()
    for seed in range(40):
        random = torch.Generator().manual_seed(seed)
        of = layer(kind, **{"nonlinearity": "relu"} if kind == "RNN" else {})
        with torch.no_grad():
            for weight in of.parameters():
                size = 10 ** (37.5 + torch.rand(1, generator=random).item())
                weight.copy_(size * (2 * torch.rand(weight.shape, generator=random) - 1))
            x = data(T, B, I, seed=seed) * torch.rand(1, generator=random)
            expected = first_of((t, series) for t, (series, *_) in enumerate(steps_of(kind, of, x)))
        found = flow.first_nonfinite(of, x, total)
        if expected is None:
            assert found is None or found.during == "backward"
        else:
            assert place(found) == ("forward", *expected)
            places.add(expected[:2])
    assert len(places) >= (2 if kind == "RNN" else 6), places


@LIBRARIES
@DIRECTIONS
def test_a_linear_rnn_overflows_at_the_step_of_its_power(library, reverse):
    of = empty("RNN", library, nonlinearity="relu", bidirectional=True)
    with torch.no_grad():
        of.get_parameter("weight_hh_l0_reverse" if reverse else "weight_hh_l0").copy_(1e3 * torch.eye(H))
    h_0 = torch.ones(2, B, H)
    found = flow.first_nonfinite(of, torch.zeros(T, B, I), total, call=lambda m, x: m(x, h_0)[0])
    steps = 12  # 1e3 ** 13 > 3.4e38
    step = T - 1 - steps if reverse else steps
    assert place(found) == ("forward", "recurrent projection", "h", step, 0)
    assert (found.name, found.layer, found.direction, found.call) == ("", 0, int(reverse), 0)
    torch.testing.assert_close(found.before["h"], torch.full((H,), 1e3**steps))
    assert found.sentence == (
        f"the first value that is not finite is the recurrent projection of the new state h of layer 0"
        f"{' in reverse' if reverse else ''} of the model at step {step} of sequence 0 in the forward pass: "
        "inf; before it |x| ≤ 0, |h| ≤ 1e+36, |x_h| ≤ 0"
    )


@LIBRARIES
@DIRECTIONS
def test_a_gradient_overflows_at_the_step_of_its_power(library, reverse):
    of = empty("RNN", library, bidirectional=True)
    with torch.no_grad():
        of.get_parameter("weight_hh_l0_reverse" if reverse else "weight_hh_l0").copy_(1e3 * torch.eye(H))
    x, end = torch.zeros(T, B, I), 0 if reverse else -1
    found = flow.first_nonfinite(of, x, lambda y, _: y[end, 2].sum())
    step = 13 if reverse else T - 1 - 13
    assert place(found) == ("backward", "state h", None, step, 2)
    assert found.value == torch.inf
    came = step - 1 if reverse else step + 1
    for key in ("dh", "da_h"):
        torch.testing.assert_close(found.before[f"{key}[{came}]"], torch.full((H,), 1e36))
    assert found.sentence.startswith(
        "the first value that is not finite is the gradient of the loss with respect to the state h of layer"
    )


def steep(y, scale):
    """0, whose gradient is `scale`."""
    return scale * (y - y.detach()).sum()


def gate_that_overflows(gate):
    """A layer, its first state and the loss of its last, whose gradient of one gate is above 1e39."""
    of = empty("LSTM" if gate == "f" else "GRU")
    large, zero = torch.full((1, B, H), 1e30), torch.zeros(1, B, H)
    if gate == "r":  # n = tanh(−0.5e30 + r · 1e30) = 0
        rows(of, "bias_ih", "n").fill_(-0.5e30)
        rows(of, "bias_hh", "n").fill_(1e30)
    return of, {"f": (zero, large), "z": large, "r": zero}[gate]


@pytest.mark.parametrize("gate", ["f", "z", "r"])
def test_the_gate_whose_gradient_overflows_is_found(gate):
    of, hx = gate_that_overflows(gate)
    found = flow.first_nonfinite(
        of,
        torch.zeros(2, B, I),
        lambda state, _: steep(state, 1e10),
        call=lambda m, x: m(x, hx)[1][1] if gate == "f" else m(x, hx)[1],
    )
    assert place(found) == ("backward", "pre-activation", gate, 1, 0)
    key = "dc[1]" if gate == "f" else "dh[1]"
    assert torch.equal(found.before[key], torch.full((H,), 1e10))


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_backward_pass_it_is_what_a_loop_meets_first(kind):
    steps = set()
    for seed in range(20):
        of, x = layer(kind, **{"nonlinearity": "relu"} if kind == "RNN" else {}), data(T, B, I, seed=seed)
        scale = 10 ** (36 + seed / 10)
        with torch.no_grad():
            of.weight_hh_l0.mul_(3 + seed / 10)
        found = flow.first_nonfinite(of, x, lambda y, _, by=scale: steep(y, by))
        rows = list(steps_of(kind, of, x))
        tensors = [each for _, states, a in rows for each in (*states.values(), *a.values())]
        loss = scale * torch.stack([states["h"] for _, states, _ in rows]).sum()
        gradients = iter(torch.autograd.grad(loss, tensors, materialize_grads=True))
        words = {"h": "state h", "c": "cell c"}
        expected, by_step = [], []
        for step, (_, states, a) in enumerate(rows):
            of_states = [((words[name], None), next(gradients)) for name in states]
            of_gates = {gate: next(gradients) for gate in a}
            by_step.append({f"da_{gate}[{step}]": each for gate, each in of_gates.items()})
            gates = [(("pre-activation", gate), of_gates[gate]) for gate in LETTERS[kind]]
            expected.append((step, of_states + gates))
        expected = first_of(reversed(expected))
        if expected is None:
            assert found is None or found.what == "parameter"
            continue
        assert place(found) == ("backward", *expected)
        steps.add(found.step)
        if found.gate is None and found.step < T - 1:
            for key, each in by_step[found.step + 1].items():
                told, looped = found.before[key] / scale, each[found.sequence] / scale
                torch.testing.assert_close(told, looped, rtol=1e-4, atol=1e-8)
    assert len(steps) > 1
