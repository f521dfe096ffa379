"""How a run is trained, validated as a whole."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from sys import float_info
from typing import Any, Literal, get_args

import torch

from .. import ops

Optimizer = Literal["adam", "adamw", "rmsprop", "sgd"]
Precision = Literal["float32", "float64", "tf32", "bf16-mixed"]


class ConfigError(ValueError):
    """Settings that cannot be used; `problems` lists (field, what is wrong) for every one of them."""

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(f"{field} {message}" for field, message in self.problems)


@dataclass(frozen=True, kw_only=True)
class Config:
    """How a run is trained.

    Args:
        epochs: how many passes over the task's order of an epoch.
        seed: of everything random in training: data order, coins of detachment, dropout.
        batch_size: sequences per optimiser step.
        optimizer: `"adam"`, `"adamw"`, `"rmsprop"` or `"sgd"`, with torch's defaults for what is not here.
        lr: learning rate.
        weight_decay: as the optimiser defines it (decoupled for `"adamw"`).
        momentum: of `"sgd"` and `"rmsprop"`.
        clip_norm: gradients whose global L2 norm is above this are scaled down to it; `"none"` never.
        anneal_epochs: p is 0 in exactly the last `anneal_epochs` epochs, so that in epoch e of 1…epochs
            p > 0 needs e ≤ epochs − anneal_epochs. (The authors' flag `--anneal-p 40` tests
            epoch > n_epochs − 40 with epochs counted from 0: the last 39. That is 39 here.)
        solved_at: stop after the epoch whose validation accuracy reaches this; `"none"` never.
        eval_batch_size: sequences per batch in evaluation.
        precision: `"float32"` and `"float64"` are the dtype of the weights and of everything computed from
            them. `"tf32"`, on a GPU only, is float32 whose products are rounded to TF32. `"bf16-mixed"` has
            weights, optimiser and loss in float32, and the model in torch.autocast to bfloat16.
        threads: torch's threads during the run, at most 1024; the number before it is
            restored.
        backend: of the recurrences, a name in `bptt.ops.backends()`; `"auto"` takes the fastest.
        checkpoint_seconds: a checkpoint is written after every epoch, and within an epoch whenever the last
            one is older than this. Changes no result, and may differ when a run is resumed; but where it
            stands in a run's spec it belongs to the spec's hash like every other value.
        watch_every: optimiser steps between two looks at the gradients through time, which are written to
            flow.jsonl (`bptt.flow.watch`); 0 never. Changes no result on a CPU; on a GPU a step that is
            looked at goes through other kernels than cuDNN's.
        paths_every: steps between two splits of these gradients into carry and gates (`bptt.flow.paths`),
            which stand in the same lines; 0 never. Each costs two or more forward and backward passes.

    Raises:
        ConfigError: a `ValueError` that names every field that breaks its rule, the rule and the value.
    """

    epochs: int
    seed: int
    batch_size: int = 100
    optimizer: Optimizer = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0
    clip_norm: float | Literal["none"] = 1.0
    anneal_epochs: int = 0
    solved_at: float | Literal["none"] = "none"
    eval_batch_size: int = 1000
    precision: Precision = "float32"
    threads: int = 1
    backend: str = "auto"
    checkpoint_seconds: float = 60.0
    watch_every: int = 0
    paths_every: int = 0

    def __post_init__(self) -> None:
        problems = [
            (name, f"must be {rule}, got {getattr(self, name)!r}")
            for name, (rule, holds) in _rules().items()
            if not holds(getattr(self, name))
        ]
        problems = problems or self._conflicts()
        if problems:
            raise ConfigError(tuple(problems))
        for field in fields(self):  # 1 and 1.0 are one setting and must hash alike
            value = getattr(self, field.name)
            if field.type is float or (isinstance(value, int) and field.name in ("clip_norm", "solved_at")):
                object.__setattr__(self, field.name, float(value))

    @property
    def dtype(self) -> torch.dtype:
        """Of weights, data and the optimiser's state."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @property
    def autocast(self) -> torch.dtype | None:
        """What torch.autocast makes of the model's computations, if anything."""
        return torch.bfloat16 if self.precision == "bf16-mixed" else None

    def _conflicts(self) -> list[tuple[str, str]]:
        problems = []
        if self.anneal_epochs >= self.epochs:
            rule = f"less than epochs = {self.epochs}, or p would always be 0"
            problems.append(("anneal_epochs", f"must be {rule}, got {self.anneal_epochs}"))
        if self.momentum and self.optimizer not in ("sgd", "rmsprop"):
            rule = f'0 for optimizer "{self.optimizer}", which has none'
            problems.append(("momentum", f"must be {rule}, got {self.momentum}"))
        if self.paths_every and (not self.watch_every or self.paths_every % self.watch_every):
            rule = f"0 or a multiple of watch_every = {self.watch_every}, in whose lines the paths are told"
            problems.append(("paths_every", f"must be {rule}, got {self.paths_every}"))
        return problems


Rule = tuple[str, Callable[[Any], bool]]

_LARGEST = 1e37  # Adam's first step multiplies lr by 10, and float32 must still hold that


_MOST_THREADS = 1024  # any number works on any machine, but a typing error could start millions


def _integer(low: int, bits: int = 31) -> Rule:
    rule = f"an integer, {low} ≤ … < 2**{bits}"
    return rule, lambda n: isinstance(n, int) and not isinstance(n, bool) and low <= n < 2**bits


def _threads() -> Rule:
    rule = f"an integer from 1 to {_MOST_THREADS}"
    return rule, lambda n: isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= _MOST_THREADS


def _number(words: str, holds: Callable[[float], bool]) -> Rule:
    def check(x: Any) -> bool:
        real = isinstance(x, int | float) and not isinstance(x, bool)
        return real and abs(x) <= float_info.max and holds(x)

    return f"a finite number {words}", check


def _or_none(rule: Rule) -> Rule:
    words, holds = rule
    return f'{words}, or "none"', lambda value: value == "none" or holds(value)


def _one_of(*choices: str) -> Rule:
    return "one of " + ", ".join(f'"{choice}"' for choice in choices), lambda value: value in choices


def _rules() -> dict[str, Rule]:
    positive = _number("> 0 and ≤ 1e37", lambda x: 0 < x <= _LARGEST)
    not_negative = _number("≥ 0 and ≤ 1e37", lambda x: 0 <= x <= _LARGEST)
    return {
        "epochs": _integer(1),
        "seed": _integer(0, bits=63),
        "batch_size": _integer(1),
        "optimizer": _one_of(*get_args(Optimizer)),
        "lr": positive,
        "weight_decay": not_negative,
        "momentum": _number("in [0, 1)", lambda x: 0 <= x < 1),
        "clip_norm": _or_none(positive),
        "anneal_epochs": _integer(0),
        "solved_at": _or_none(_number("in (0, 1]", lambda x: 0 < x <= 1)),
        "eval_batch_size": _integer(1),
        "precision": _one_of(*get_args(Precision)),
        "threads": _threads(),
        "backend": _one_of("auto", *(name for name, _ in ops.backends())),
        "checkpoint_seconds": _number("≥ 0", lambda x: x >= 0),
        "watch_every": _integer(0),
        "paths_every": _integer(0),
    }
