"""Training by `bptt.train`, as an experiment does it, beside the papers' loop."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ... import nn, tasks, train
from ...detach import Detach
from .._measure import Pairs, Work, measure
from ._rows import Row

_PRECISIONS: Mapping[str, Any] = {"bfloat16": "bf16-mixed", "tf32": "tf32", "float32": "float32"}
_STEPS = 64  # of an epoch


def train_beside(
    row: Row, device: str, rival: Work, clock: Callable[[], float], pairs: int
) -> tuple[Pairs, int | None]:
    """Seconds of a step of all replicas, and of as many steps of the rival, in turns.

    An epoch of ours is one timing, after a first in which everything is compiled and recorded.

    Args:
        row: what is trained.
        device: where.
        rival: one step of one model.
        clock: seconds since any moment.
        pairs: of timings.

    Returns:
        The times, and the bytes of a GPU that a replica takes at most.
    """
    theirs: list[float] = []
    told: set[int] = set()

    def observe(index: int, now: train.Progress) -> None:
        if index == row.replicas - 1 and now.metrics is not None and now.metrics["epoch"] not in told:
            told.add(now.metrics["epoch"])
            timed = measure(rival, rival, pairs=1, warm_ups=1, clock=clock)
            theirs.append(row.replicas * median((*timed.ours, *timed.rival)))

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if device == "cuda" else 0
    with TemporaryDirectory() as folder:
        replicas = _replicas(row, device, pairs + 1, Path(folder))
        for ending in train.fit_replicas(replicas, stacked=True, observe=observe):
            if isinstance(ending, BaseException):
                raise ending
        lines = (replicas[0].path / "timing.jsonl").read_text().splitlines()
    ours = [1 / json.loads(line)["steps_per_second"] for line in lines]
    took = (torch.cuda.max_memory_allocated() - before) // row.replicas if device == "cuda" else None
    return Pairs(tuple(ours[1:]), tuple(theirs[1:])), took


def _replicas(row: Row, device: str, epochs: int, folder: Path) -> list[train.Replica]:
    T, B, I, H = row.shape.T, row.shape.B, row.shape.I, row.shape.H
    task = tasks.copying(T - 20, train_size=B, valid_size=B, iterations=_STEPS)
    made = []
    for seed in range(row.replicas):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = nn.SequenceModel(nn.LSTM(I, H), task.output_size, readout=task.readout)
        config = train.Config(
            epochs=epochs,
            seed=seed,
            batch_size=B,
            precision=_PRECISIONS[row.precision],
            checkpoint_seconds=3600.0,
        )
        made.append(
            train.Replica(
                folder=folder / str(seed),
                model=model.to(device),
                task=task,
                config=config,
                detach=Detach(h=row.p),
                spec={"seed": seed},
            )
        )
    return made
