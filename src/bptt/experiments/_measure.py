"""What a `[measure]` asks for: the gradient of a loss at the last step, in layers as they are initialised."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .. import Detach, nn
from .._threads import threads
from ..streams import stream
from ._problems import Problem, first_line

_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One layer, fed with normal noise; the loss is ‖h_T − target‖² with a normal target.

    Args:
        cell: `"lstm"`, `"gru"` or `"rnn"`.
        steps: the lengths T, ascending. A shorter sequence is the end of a longer one.
        input_size: I.
        hidden_size: H.
        nonlinearity: of an RNN; `"linear"` leaves its sum as it is.
        recurrent: `"uniform"`, W_hh as torch draws it, U(±1/√H); `"orthogonal"`, a random orthogonal one.
        coins: how many times an arm with `detach` draws its coins.
        precision: `"float32"` or `"float64"`.
        threads: torch's threads.
    """

    cell: Literal["lstm", "gru", "rnn"]
    steps: list[int]
    input_size: int = 32
    hidden_size: int = 64
    nonlinearity: Literal["tanh", "linear"] = "tanh"
    recurrent: Literal["uniform", "orthogonal"] = "uniform"
    coins: int = 1
    precision: Literal["float32", "float64"] = "float64"
    threads: int = 1

    def problems(self) -> list[Problem]:
        """The values that break their rules."""
        ascending = self.steps == sorted(set(self.steps)) and all(1 <= T <= 10**6 for T in self.steps)
        rules = {
            "steps": (bool(self.steps) and ascending, "at least one integer from 1 to 10⁶, ascending"),
            "nonlinearity": (self.cell == "rnn" or self.nonlinearity == "tanh", '"tanh" but for an RNN'),
            "recurrent": (
                self.cell == "rnn" or self.recurrent == "uniform",
                '"uniform" but for an RNN, whose W_hh is square',
            ),
        }
        for name, most in (
            ("input_size", 2**20),
            ("hidden_size", 2**14),
            ("coins", 10**6),
            ("threads", 1024),
        ):
            rules[name] = (1 <= getattr(self, name) <= most, f"an integer from 1 to {most}")
        return [
            Problem(f"measure.{name}", f"must be {rule}, got {getattr(self, name)!r}")
            for name, (holds, rule) in rules.items()
            if not holds
        ]


def misfit(section: Mapping[str, Any], detach: Mapping[str, Any] | None) -> list[Problem]:
    """Why an arm cannot block what it asks for; no memory is taken."""
    if detach is None:
        return []
    if section["nonlinearity"] == "linear":
        return [Problem("detach", f'must be left out with nonlinearity = "linear", got {dict(detach)}')]
    try:
        _CELLS[section["cell"]](1, 1, detach=Detach(**detach), device="meta")
    except ValueError as error:
        return [Problem("detach", first_line(error))]
    return []


def measure(
    section: Mapping[str, Any], detach: Mapping[str, Any] | None, seed: int
) -> list[dict[str, int | float | None]]:
    """Measure one layer of one seed.

    Returns:
        A row for each length and draw of coins: `steps`, `coin`, and the norms of the loss's gradient with
        respect to W_hh (`weight_hh`), h_T (`last_h`), h_0 (`first_h`) and, of an LSTM, c_0 (`first_c`).
        The states h_0 and c_0, before the first step, are zero.
    """
    asked = Measure(**section)
    rule = None if detach is None else Detach(**detach)
    with threads(asked.threads):
        layer = _layer(asked, seed)
        noise = stream(seed, "measure.data")
        target, x = (
            torch.randn(size, generator=noise, dtype=torch.float64).to(_DTYPES[asked.precision])
            for size in ((1, asked.hidden_size), (asked.steps[-1], 1, asked.input_size))
        )
        return [
            {"steps": T, "coin": coin} | _norms(layer, x[-T:], target, _keeps(rule, T, seed, coin))
            for T in asked.steps
            for coin in range(1 if rule is None else asked.coins)
        ]


def _layer(asked: Measure, seed: int) -> torch.nn.RNNBase:
    make = _Linear if asked.nonlinearity == "linear" else _CELLS[asked.cell]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, "init").initial_seed())
        layer = make(asked.input_size, asked.hidden_size, dtype=_DTYPES[asked.precision])
        if asked.recurrent == "orthogonal":
            torch.nn.init.orthogonal_(_recurrent(layer))
    return layer


def _recurrent(layer: torch.nn.RNNBase) -> Tensor:
    """W_hh."""
    return layer.all_weights[0][1]


class _Linear(torch.nn.RNNBase):
    """h_t = W_ih x_t + b_ih + W_hh h_{t−1} + b_hh, with the weights of an RNN of the same seed."""

    def __init__(self, input_size: int, hidden_size: int, *, dtype: torch.dtype) -> None:
        super().__init__("RNN_TANH", input_size, hidden_size, dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor) -> tuple[Tensor, Tensor]:
        w_ih, w_hh, b_ih, b_hh = self.all_weights[0]
        h, y = hx[0], []
        for sums in torch.nn.functional.linear(input, w_ih, b_ih + b_hh):
            h = sums + h @ w_hh.T
            y.append(h)
        return torch.stack(y), h.unsqueeze(0)


def _keeps(rule: Detach | None, T: int, seed: int, coin: int) -> dict[str, Any]:
    if rule is None:
        return {}
    return {"keeps": {(0, 0): rule.sample((T, 1), generator=stream(seed, "measure.coins", coin))}}


def _norms(
    layer: torch.nn.RNNBase, x: Tensor, target: Tensor, keeps: dict[str, Any]
) -> dict[str, float | None]:
    first = [
        x.new_zeros(1, 1, layer.hidden_size, requires_grad=True)
        for _ in range(2 if layer.mode == "LSTM" else 1)
    ]
    y, _ = layer(x, first[0] if len(first) == 1 else tuple(first), **keeps)
    loss = (y[-1] - target).square().sum()
    found = torch.autograd.grad(loss, [_recurrent(layer), y, *first])
    norms = [_norm(gradient.double()) for gradient in found]
    return dict(zip(("weight_hh", "last_h", "first_h", "first_c"), (*norms, None), strict=False))


def _norm(gradient: Tensor) -> float:
    # Of so many steps the gradient may be one whose squares vanish even in float64.
    largest = gradient.abs().max().item()
    return largest * (gradient / largest).norm().item() if 0 < largest < math.inf else largest
