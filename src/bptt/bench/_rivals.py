"""Those who run beside us, all with the same weights."""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import nn as ours
from .. import ops
from ..detach import Detach
from ._case import Case
from ._low import low_memory

LAYERS = {"lstm": ours.LSTM, "gru": ours.GRU, "rnn": ours.RNN}
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
WATCHED = {  # each so many steps
    "watched": 1,
    "watched-100": 100,
    "watched-idle": None,
    "watched-torch": 1,
    "watched-paths": 1,
}
RIVALS = ("torch", "torch-no-onednn", "loop", "reference", "compiled", "memory-fast", *WATCHED)
COMPILED_STEPS = 16  # it unrolls every step, and compiles for minutes beyond


class Loop(nn.Module):
    """The papers' per-step LSTM: its equations in Python, and one coin a step that may detach h.

    Args:
        layer: whose weights it takes, one layer in one direction.
        p: probability of detaching.

    Source: Kanuparthi et al., "h-detach", ICLR 2019, equations 1 to 6 and Algorithm 1.
    """

    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter

    def __init__(self, layer: nn.Module, p: float) -> None:
        super().__init__()
        for name, weight in layer.named_parameters():
            self.register_parameter(name, nn.Parameter(weight.detach().clone()))
        self.hidden_size = self.features = self.weight_hh_l0.shape[1]
        self.p = p
        self.coins: Sequence[bool] | None = None  # given ones instead of a draw

    def forward(
        self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run over time: x `(T, B, I)`, states `(1, B, H)` or None for zeros."""
        if hx is None:
            h = c = x.new_zeros(x.shape[1], self.hidden_size)
        else:
            h, c = hx[0][0], hx[1][0]
        outputs = []
        for t in range(x.shape[0]):
            blocked = self.coins[t] if self.coins is not None else self.p > 0 and random.random() <= self.p
            read = h.detach() if blocked else h
            gates = F.linear(x[t], self.weight_ih_l0, self.bias_ih_l0)
            gates = gates + F.linear(read, self.weight_hh_l0, self.bias_hh_l0)
            i, f, g, o = gates.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), (h.unsqueeze(0), c.unsqueeze(0))


class Contender:
    """A layer, and under what it runs.

    Args:
        name: of the rival, or `"ours"`.
        layer: a recurrent module.
        context: what must be entered around each forward and backward pass.
    """

    def __init__(
        self,
        name: str,
        layer: nn.Module,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.name = name
        self.layer = layer
        self.context = context
        self.parameters = list(layer.parameters())


@contextmanager
def without_onednn() -> Iterator[None]:
    """Inside, torch does without oneDNN."""
    # Not torch.backends.mkldnn.flags: it warns of Intel GPUs that are not there.
    switch: Any = torch.backends.mkldnn
    before = switch.enabled
    switch.enabled = False
    try:
        yield
    finally:
        switch.enabled = before


def contenders(case: Case, rival: str) -> tuple[Contender, Contender]:
    """Ours and a rival, with the same weights.

    Args:
        case: the row.
        rival: one of `RIVALS`.

    Raises:
        ValueError: if there is no such rival, or it cannot do what the case wants.
    """
    if (problem := refusal(case, rival)) is not None:
        raise ValueError(problem)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return _built(case, rival)


def _built(case: Case, rival: str) -> tuple[Contender, Contender]:
    sizes = (case.shape.I, case.shape.H, case.layers)
    origin = TORCH[case.cell](*sizes, bidirectional=case.bidirectional)
    detach = {"detach": Detach(h=case.p) if case.p > 0 else None}

    def layer() -> nn.Module:
        layer = LAYERS[case.cell](*sizes, bidirectional=case.bidirectional, **detach)
        layer.load_state_dict(origin.state_dict())
        return layer

    mine = Contender("ours", layer(), low_memory if case.memory == "low" else nullcontext)
    if rival == "watched-torch":
        return Contender("torch", origin), Contender(rival, copy.deepcopy(origin))
    if rival in WATCHED:
        return mine, Contender(rival, layer(), mine.context)
    if rival == "torch":
        return mine, Contender(rival, origin)
    if rival == "torch-no-onednn":
        return mine, Contender(rival, origin, without_onednn)
    if rival == "reference":
        return mine, Contender(rival, layer(), lambda: ops.use_backend("reference"))
    if rival == "memory-fast":
        return mine, Contender(rival, layer())
    loop = Loop(origin, case.p)
    if rival == "compiled":
        loop.compile()
    return mine, Contender(rival, loop)


def refusal(case: Case, rival: str) -> str | None:
    """Why a rival cannot run beside us in a case, or None."""
    if rival not in RIVALS:
        return f"rivals must be among {', '.join(RIVALS)}, got {rival!r}"
    if rival in ("loop", "compiled") and (case.cell != "lstm" or not case.plain):
        return f"the rival {rival} is one LSTM layer in one direction over whole sequences, got {case}"
    if rival == "compiled" and case.shape.T > COMPILED_STEPS:
        return f"the rival compiled takes at most {COMPILED_STEPS} steps, got {case.shape.T}"
    if rival == "compiled" and case.p > 0:
        return f"the rival compiled takes no coins, got p {case.p:g}"
    if rival in WATCHED and case.mode != "step":
        return f"the rival {rival} is a whole step of training, got {case}"
    if rival == "watched-torch" and case.p > 0:
        return f"the rival {rival} takes no coins, got p {case.p:g}"
    if rival == "memory-fast" and case.memory == "fast":
        return 'the rival memory-fast is for memory "low", got "fast"'
    return None
