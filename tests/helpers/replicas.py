"""Runs to train together, and alone to compare."""

from dataclasses import replace

import safetensors.torch
import torch

from bptt import Detach, nn, train

from . import runs

KINDS = (
    {"seed": 1, "detach": None},
    {"seed": 2, "detach": Detach(h=0.5), "lr": 0.02, "clip_norm": "none"},
    {"seed": 3, "detach": Detach(h=0.25, c=0.1), "weight_decay": 0.1, "clip_norm": 0.05},
    {"seed": 4, "detach": Detach(c=0.5, draw="sequence"), "epochs": 2, "anneal_epochs": 0},
    {"seed": 5, "detach": Detach(h=0.5, draw="mean"), "anneal_epochs": 0, "lr": 0.003},
)
LONG = {"precision": "float64", "batch_size": 3, "epochs": 15, "anneal_epochs": 4}  # 105 updates


def build(kinds=KINDS, *, cell=nn.LSTM, layers=1, **shared):
    """Replicas without a folder."""
    made = []
    for kind in kinds:
        fields = {**shared, **kind}
        detach, task = fields.pop("detach", None), fields.pop("task", runs.TASK)
        with torch.random.fork_rng():
            torch.manual_seed(fields.get("seed", 7))
            dropout = 0.2 if layers > 1 else 0.0
            core = cell(task.input_size, 4, num_layers=layers, dropout=dropout)
            model = nn.SequenceModel(core, task.output_size, readout=task.readout)
        config = replace(runs.CONFIG, **fields)
        spec = {"detach": repr(detach), **fields}
        made.append(
            train.Replica(folder=None, model=model, task=task, config=config, detach=detach, spec=spec)
        )
    return made


def placed(replicas, root):
    return [replace(one, folder=root / str(index)) for index, one in enumerate(replicas)]


def alone(root, replicas):
    return [train.fit(**vars(one)) for one in placed(replicas, root)]


def together(root, replicas, **given):
    endings = train.fit_replicas(placed(replicas, root), **given)
    for ending in endings:
        if isinstance(ending, BaseException):
            raise ending
    return endings


def every(root, number):
    return [runs.results(root / str(index)) for index in range(number)]


def numbers_and_words(page):
    numbers, words = [], []

    def walk(value):
        if isinstance(value, dict):
            for key, part in value.items():
                words.append(key)
                walk(part)
        elif isinstance(value, float):
            numbers.append(value)
        else:
            words.append(value)

    walk(page)
    return torch.tensor(numbers, dtype=torch.float64), words


def assert_equal_to_rounding(one, other, number, rtol):
    """Every weight and every line of metrics of runs in two folders."""
    for index in range(number):
        a, b = one / str(index), other / str(index)
        for x, y in zip(train.read_metrics(a), train.read_metrics(b), strict=True):
            (numbers, words), (others, same) = numbers_and_words(x), numbers_and_words(y)
            assert words == same
            torch.testing.assert_close(numbers, others, rtol=rtol, atol=rtol)
        weights, expected = (safetensors.torch.load_file(f / "weights.safetensors") for f in (a, b))
        torch.testing.assert_close(weights, expected, rtol=rtol, atol=rtol)
        for key in ("status", "epoch", "step"):
            assert getattr(train.read_outcome(a), key) == getattr(train.read_outcome(b), key)
