"""The models and optimisers of many runs in one tensor for each kind of number, a row for every run."""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from .._config import Optimizer
from .._run import Run
from ._rules import RULES, Settings


class Rows:
    """What R runs of one structure train, gathered from them and given back.

    Attributes:
        weights: (R, N), every trained parameter of a run flat in its row.
        state: name in torch's optimiser → (R, N).
        constants: name → what is not trained, stacked: (R, …).
    """

    def __init__(self, runs: Sequence[Run], optimizer: Optimizer, momentum: float) -> None:
        self._runs = list(runs)
        self._rule = RULES[optimizer]
        model = runs[0].model
        self._sizes = {name: tensor.shape for name, tensor in _trained(model)}
        self.weights = self._gathered(lambda run, name: dict(_trained(run.model))[name])
        self.state = {key: self._gathered(_kept(key)) for key in self._rule.keeps(momentum)}
        self._used: Tensor | None = None  # (N,), if some have no gradient
        self.constants = {
            name: torch.stack([dict(_others(run.model))[name].detach() for run in runs])
            for name, _ in _others(model)
        }

    def parameters(self) -> dict[str, Tensor]:
        """Name → (R, …), views of the weights that a gradient can be asked for."""
        return {
            name: part.detach().requires_grad_()
            for name, part in zip(self._sizes, self._parts(self.weights), strict=True)
        }

    def flat(self, parts: Sequence[Tensor | None]) -> Tensor:
        """(R, N) of gradients (R, …); where there is none, which torch's optimisers pass over, zeros."""
        there = [part for part in parts if part is not None]
        if len(there) == len(parts):
            return torch.cat([part.flatten(1) for part in there], 1)
        if self._used is None:
            sizes = [prod(shape) for shape in self._sizes.values()]
            known = [part is not None for part, size in zip(parts, sizes, strict=True) for _ in range(size)]
            self._used = torch.tensor(known, device=self.weights.device)
        zeros = self._parts(torch.zeros_like(self.weights))
        pairs = zip(parts, zeros, strict=True)
        return torch.cat([(zero if part is None else part).flatten(1) for part, zero in pairs], 1)

    def update(self, gradient: Tensor, where: Tensor, settings: Settings) -> None:
        """Take a step of the optimiser, in the rows (R,) chosen."""
        chosen = where.unsqueeze(1) if self._used is None else where.unsqueeze(1) & self._used
        weights, state = self._rule.update(self.weights, gradient, self.state, settings)
        for old, new in [(self.weights, weights), *((self.state[key], new) for key, new in state.items())]:
            old.copy_(torch.where(chosen, new, old))

    def give_back(self, row: int, updates: int) -> None:
        """Put a row into the model and the optimiser of its run, which has had so many updates."""
        run = self._runs[row]
        kept = {key: [part[row] for part in self._parts(rows)] for key, rows in self.state.items()}
        with torch.no_grad():
            for place, (part, (_, parameter)) in enumerate(
                zip(self._parts(self.weights), _trained(run.model), strict=True)
            ):
                parameter.copy_(part[row])
                state = {key: parts[place].clone() for key, parts in kept.items()}
                if self._rule.counts:
                    state["step"] = torch.tensor(float(updates), device="cpu")
                if state and updates and (self._used is None or self._parts(self._used[None])[place].all()):
                    run.optimizer.state[parameter] = state
            for name, tensor in _others(run.model):
                tensor.copy_(self.constants[name][row])

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, which a step changes in place."""
        return [self.weights, *self.state.values(), *self.constants.values()]

    def _parts(self, rows: Tensor) -> list[Tensor]:
        shapes = self._sizes.values()
        parts = rows.split([prod(shape) for shape in shapes], 1)
        return [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]

    def _gathered(self, of: Callable[[Run, str], Tensor | None]) -> Tensor:
        like = dict(_trained(self._runs[0].model))

        def row(run: Run) -> Tensor:
            parts = ((of(run, name), like[name]) for name in self._sizes)
            return torch.cat([(torch.zeros_like(p) if t is None else t).detach().flatten() for t, p in parts])

        return torch.stack([row(run) for run in self._runs])


def _trained(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _others(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from (
        (name, parameter) for name, parameter in model.named_parameters() if not parameter.requires_grad
    )
    yield from model.named_buffers()


def _kept(key: str) -> Callable[[Run, str], Any]:
    return lambda run, name: run.optimizer.state.get(dict(_trained(run.model))[name], {}).get(key)
