"""Experiments of half a second, and what they leave behind."""

import pytest

from bptt.experiments import SpecError, load

RESULTS = ("metrics.jsonl", "weights.safetensors", "done.json")

# What asks for more memory than there is fails in the run's own process, after everything was found valid.
FAILING = """
seeds = [0]
experiment = { name = "failing", title = "One arm cannot be run" }
task = { name = "copying", delay = 2, train_size = 100, valid_size = 20, iterations = 2 }
model = { cell = "lstm", hidden_size = 4, readout = "each" }
train = { epochs = 2 }
[arms.greedy]
model.hidden_size = 10_000_000
[arms.modest]
"""


def small(**asked):
    """Runs of half a second."""
    return load("copying", **({"profile": "smoke", "arms": ["h-detach-0.5"]} | asked))


class Watched:
    """An observer that remembers, and may do something at one of the events."""

    def __init__(self, at=None, act=lambda _: None):
        self.events, self.at, self.act = [], at, act

    def __call__(self, event):
        self.events.append(event)
        if self.at is not None and self.at(event):
            self.at = None
            self.act(event)

    def kinds(self):
        return [(event.kind, event.run.folder) for event in self.events if event.kind != "progress"]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results(folder):
    return {name: (folder / name).read_bytes() for name in RESULTS}


def trained(event):
    return event.kind == "progress" and event.progress.step > 1


def refused(*given, **asked):
    """The error of a spec that must be refused."""
    with pytest.raises(SpecError) as caught:
        load(*given, **asked)
    return caught.value


def told(error):
    """Its problems by key."""
    return {problem.key: problem for problem in error.problems}
