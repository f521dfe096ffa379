"""A run of a fraction of a second, with everything in it that a resume could get wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bptt import Detach, nn, tasks, train

TASK = tasks.adding(6, train_size=20, valid_size=10, test_size=10)
CONFIG = train.Config(epochs=3, seed=7, batch_size=6, lr=0.01, eval_batch_size=7, anneal_epochs=1)
DETACH = Detach(h=0.5, c=0.1)
RESULTS = ("metrics.jsonl", "flow.jsonl", "weights.safetensors", "done.json")


def build(task: tasks.Task = TASK, *, layers: int = 2, dropout: float = 0.2) -> torch.nn.Module:
    """A model whose weights are always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        core = nn.LSTM(task.input_size, 4, num_layers=layers, dropout=dropout if layers > 1 else 0.0)
        return nn.SequenceModel(core, task.output_size, readout=task.readout)


def fit(folder: Path, *, task: tasks.Task = TASK, **given: Any) -> train.Outcome:
    """Train the tiny run; keywords that are fields of the config change it, others go to `train.fit`."""
    fields = {key: given.pop(key) for key in list(given) if key in train.Config.__dataclass_fields__}
    config = replace(CONFIG, **fields)
    given = {"detach": DETACH, "spec": {"name": "tiny", **fields}, "model": build(task)} | given
    return train.fit(folder, task=task, config=config, **given)


def results(folder: Path) -> dict[str, bytes]:
    """The files that must not depend on how often a run was stopped."""
    return {name: (folder / name).read_bytes() for name in RESULTS if name != "flow.jsonl" or watched(folder)}


def watched(folder: Path) -> bool:
    """Whether the run in a folder is one that writes flow.jsonl."""
    return "flow_sha256" in json.loads((folder / "done.json").read_text())
