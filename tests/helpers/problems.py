"""Random instances of the ops, and every gradient of their outputs."""

import os

import torch
from torch import Tensor

from bptt import ops
from helpers import loops

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
ELSEWHERE = {"cudnn"} if INTERPRETED else {"cudnn", "triton"}
BACKENDS = [  # those that serve the CPU
    name for name, missing in ops.backends() if missing is None and name not in ELSEWHERE
]
LOOPS = {"lstm": loops.lstm_loop, "gru": loops.gru_loop, "rnn": loops.rnn_loop}


def leaves(op, T=7, B=3, I=2, H=4, P=None, *, bias=True, dtype=torch.float64, seed=0):
    """The op's differentiable arguments by name, each a leaf."""
    generator = torch.Generator().manual_seed(seed)
    G, P_ = GATES[op], P or H
    shapes = {"x": (T, B, I), "h_0": (B, P_)}
    if op == "lstm":
        shapes["c_0"] = (B, H)
    shapes |= {"w_ih": (G * H, I), "w_hh": (G * H, P_)}
    if bias:
        shapes |= {"b_ih": (G * H,), "b_hh": (G * H,)}
    if P is not None:
        shapes["w_hr"] = (P, H)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for name, shape in shapes.items()
    }


def constants(op, **sizes):
    """The same without a gradient."""
    return {name: tensor.detach() for name, tensor in leaves(op, **sizes).items()}


def run(op, a, **options) -> dict[str, Tensor]:
    """The outputs of the op by name."""
    state = (a["h_0"], a["c_0"]) if op == "lstm" else a["h_0"]
    if "w_hr" in a:
        options = {"w_hr": a["w_hr"], **options}
    out = getattr(ops, op)(a["x"], state, a["w_ih"], a["w_hh"], a.get("b_ih"), a.get("b_hh"), **options)
    if op != "lstm":
        return {"y": out[0], "h_n": out[1]}
    return {"y": out[0], "h_n": out[1][0], "c_n": out[1][1]} | ({"c": out[2]} if len(out) == 3 else {})


def run_torch(op, a, lengths=None, **options) -> dict[str, Tensor]:
    """The same through torch.nn, with the same parameters."""
    T, _, I = a["x"].shape
    H, P = a["w_hh"].shape[0] // GATES[op], a["h_0"].shape[1]
    module = MODULES[op](I, H, bias="b_ih" in a, **({"proj_size": P} if "w_hr" in a else {}), **options)
    names = {"w_ih": "weight_ih_l0", "w_hh": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}
    names["w_hr"] = "weight_hr_l0"
    parameters = {names[name]: tensor for name, tensor in a.items() if name in names}
    x = a["x"]
    if lengths is not None:
        x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    state = (a["h_0"][None], a["c_0"][None]) if op == "lstm" else a["h_0"][None]
    y, last = torch.func.functional_call(module.to(a["x"].dtype), parameters, (x, state))
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)
    if op != "lstm":
        return {"y": y, "h_n": last[0]}
    return {"y": y, "h_n": last[0][0], "c_n": last[1][0]}


def run_loop(op, a, **options) -> dict[str, Tensor]:
    """The same through the explicit per-step loop; also the lists of states as "hs" and "cs"."""
    state = (a["h_0"], a["c_0"]) if op == "lstm" else a["h_0"]
    if "w_hr" in a:
        options = {"w_hr": a["w_hr"], **options}
    out = LOOPS[op](a["x"], state, a["w_ih"], a["w_hh"], a.get("b_ih"), a.get("b_hh"), **options)
    hs, cs = out if op == "lstm" else (out, None)
    result = {"y": torch.stack(hs), "h_n": hs[-1], "hs": hs}
    return result | ({"c_n": cs[-1], "c": torch.stack(cs), "cs": cs} if cs else {})


def gradients(outputs, a, names=None, seed=1) -> dict[str, Tensor]:
    """Gradients of a random combination of the outputs; zeros where there is no path."""
    generator = torch.Generator().manual_seed(seed)
    loss = torch.zeros((), dtype=torch.float64)
    for name in names or outputs:
        cotangent = torch.randn(outputs[name].shape, generator=generator, dtype=torch.float64)
        loss = loss + (outputs[name] * cotangent.to(outputs[name])).sum()
    wanted = {name: tensor for name, tensor in a.items() if tensor.requires_grad}
    grads = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(wanted, grads, strict=True))


def assert_same(actual, expected, tolerance=1e-12):
    """Every tensor of `expected` is met to `tolerance`, relative to its largest entry or 1."""
    for name, tensor in expected.items():
        assert actual[name].shape == tensor.shape, name
        found = error(actual[name], tensor)
        assert found <= tolerance, f"{name}: error {found:.2e}"


def error(actual, expected):
    """The largest difference, relative to the largest entry or 1."""
    if not expected.numel():
        return 0.0
    scale = max(1.0, expected.detach().abs().max().item())
    return (actual.detach() - expected.detach()).abs().max().item() / scale
