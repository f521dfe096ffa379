"""From sections to objects: what a spec may say is what these constructors accept, and nothing else."""

import json
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch

from .. import Detach, nn, tasks, train
from ..streams import stream
from ._fields import Field, bind, fields_of
from ._problems import Problem, unknown
from ._spec import Arm, Section

Bound = tuple[dict[str, Any], list[Problem]]

_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
# What a cell's constructor takes and a spec does not set: sizes come from the task, the rest from bptt.
_NOT_OF_CELLS = ("input_size", "batch_first", "device", "dtype", "detach")
_AROUND_CELLS = {
    "cell": Field(Literal["lstm", "gru", "rnn"]),
    "embed": Field(Literal["none", "linear", "lookup"], "none"),
    "embed_size": Field(int | Literal["none"], "none"),
    "readout": Field(Literal["each", "last", "mean", "max"]),
}


def bind_task(given: Mapping[str, Any]) -> Bound:
    """Check a `[task]`: its name, and the arguments of that task's function except where its data lies."""
    name = Field(str)
    if given.get("name") not in tasks.names():
        _, problems = bind("task", {"name": given["name"]} if "name" in given else {}, {"name": name})
        return dict(given), problems or [unknown("task.name", "task", given["name"], tasks.names())]
    fields = {"name": name} | fields_of(tasks.factory(given["name"]), leave_out=("data",))
    return bind("task", given, fields)


def bind_model(given: Mapping[str, Any]) -> Bound:
    """Check a `[model]`: the cell, its constructor's arguments, and what SequenceModel puts around it."""
    cell = given.get("cell")
    if cell not in _CELLS:
        around = {key: value for key, value in given.items() if key in _AROUND_CELLS}
        return dict(given), bind("model", around, _AROUND_CELLS)[1]
    complete, problems = bind(
        "model", given, _AROUND_CELLS | fields_of(_CELLS[cell], leave_out=_NOT_OF_CELLS)
    )
    if not problems and (complete["embed"] == "none") != (complete["embed_size"] == "none"):
        rule = 'must be given with embed = "linear" or "lookup", and only then'
        problems.append(Problem("model.embed_size", f"{rule}, got {complete['embed_size']!r}"))
    return complete, problems


def bind_train(given: Mapping[str, Any]) -> Bound:
    """Check a `[train]` against `bptt.train.Config`, whose seed comes from `seeds`."""
    complete, problems = bind("train", given, fields_of(train.Config, leave_out=("seed",)))
    told = {problem.key for problem in problems}
    known = {key: value for key, value in given.items() if key in complete}
    try:
        complete = asdict(train.Config(**{"epochs": 10**9, **known, "seed": 0}))
        del complete["seed"]
    except train.ConfigError as error:
        # Config knows the ranges; types, and nearest names, have been told already.
        rest = [Problem(f"train.{field}", message) for field, message in error.problems]
        problems += [problem for problem in rest if problem.key not in told]
    return complete, problems


def bind_detach(key: str, given: Any) -> Bound:
    """Check an arm's `detach` table against `bptt.Detach`."""
    if not isinstance(given, dict):
        return {}, [Problem(key, f"must be a table such as {{h = 0.25}}, got {given!r}")]
    complete, problems = bind(key, given, fields_of(Detach))
    if not problems:
        try:
            Detach(**complete)
        except (TypeError, ValueError) as error:
            problems.append(Problem(key, str(error).removeprefix("Detach: ")))
    return complete, problems


BINDERS: dict[str, Callable[[Mapping[str, Any]], Bound]] = {
    "task": bind_task,
    "model": bind_model,
    "train": bind_train,
}


def task(section: Section, data: Path | None) -> tasks.Task:
    """Make the task of a section, its data from `data` or from where tasks look for it.

    Raises:
        ValueError: if the task refuses an argument.
        FileNotFoundError: if its data is not found.
    """
    arguments = {key: value for key, value in section.items() if key not in ("name", "fingerprint")}
    if data is not None and "data" in signature(tasks.factory(section["name"])).parameters:
        arguments["data"] = data
    return tasks.make(section["name"], **arguments)


def model(section: Section, of: tasks.Task, detach: Section | None, seed: int) -> nn.SequenceModel:
    """Make the model of a section for a task, its weights drawn from the stream `init` of `seed`.

    Arms that differ in detach alone start from the same weights. torch's global generator is left untouched.

    Raises:
        ValueError: if model and task do not fit each other, or the cell refuses an argument.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, "init").initial_seed())
        return _assemble(section, Sizes.of(of), detach)


def config(section: Section) -> train.Config:
    """The training settings of a run, its seed among them."""
    return train.Config(**section)


def detach(section: Section | None) -> Detach | None:
    """Which gradient paths an arm blocks."""
    return None if section is None else Detach(**section)


class Sizes(NamedTuple):
    """What a model has to know of its task."""

    input_size: int
    output_size: int
    readout: str
    vocabulary: int | None

    @classmethod
    def of(cls, task: tasks.Task) -> Self:
        return cls(task.input_size, task.output_size, task.readout, task.vocabulary)


def trial(arm: Arm, broken: Collection[str]) -> list[Problem]:
    """What the constructors refuse of an arm: ranges, and parts that must fit.

    Sections that are `broken`, not bound without a problem, are not tried. A model without its task is tried
    on one that suits it; where only the data is not found, `misfit` tries it again when the task is run.
    """
    problems: list[Problem] = []
    made = None if "task" in broken else _tried(json.dumps(dict(arm.task), sort_keys=True))
    if isinstance(made, str):
        problems = _of_message("task", made.removeprefix(f"{arm.task['name']}: "), arm.task)
    if not {"model", "detach"} & set(broken):
        problems += misfit(arm, made if isinstance(made, Sizes) else _suiting(arm.model))
    return problems


def _suiting(model: Section) -> Sizes:
    vocabulary = 2 if model["embed"] == "lookup" else None
    return Sizes(1, 1, "each" if model["readout"] == "each" else "last", vocabulary)


@lru_cache(maxsize=64)
def _tried(section_json: str) -> Sizes | str | None:
    """The sizes of the task that a section (as JSON) makes; what it refuses; None if it lacks its data."""
    try:
        return Sizes.of(task(json.loads(section_json), None))
    except (FileNotFoundError, tasks.data.DataError):
        return None
    except (RuntimeError, TypeError, ValueError) as error:
        return str(error)


def misfit(arm: Arm, known: Sizes) -> list[Problem]:
    """What the model's constructors refuse of an arm on a task of these sizes; no memory is taken."""
    try:
        # torch only warns of a dropout without a layer to act on; a spec holds no value without effect.
        with torch.device("meta"), warnings.catch_warnings(action="error"):
            _assemble(arm.model, known, arm.detach)
    except (TypeError, ValueError, RuntimeError, UserWarning) as error:
        return _of_message("model", str(error), arm.model)
    return []


def _of_message(section: str, message: str, keys: Section) -> list[Problem]:
    """Constructors name what they refuse in the first word of each of their problems."""
    problems = []
    for part in message.split("; "):
        first, _, rest = part.partition(" ")
        problems.append(Problem(f"{section}.{first}", rest) if first in keys else Problem(section, part))
    return problems


def _assemble(section: Section, of: Sizes, detach_section: Section | None) -> nn.SequenceModel:
    arguments = {key: value for key, value in section.items() if key not in _AROUND_CELLS}
    embed, width = section["embed"], section["embed_size"]
    if (embed == "lookup") != (of.vocabulary is not None):
        raise ValueError(f'embed must be "lookup" for tokens and for nothing else, got {embed!r}')
    if (section["readout"] == "each") != (of.readout == "each"):
        fitting = '"each"' if of.readout == "each" else '"last", "mean" or "max"'
        raise ValueError(f"readout must be {fitting} for this task, got {section['readout']!r}")
    embedding: torch.nn.Module | None = None
    if embed == "lookup":
        embedding = torch.nn.Embedding(of.vocabulary or 0, width)
    elif embed == "linear":
        embedding = torch.nn.Linear(of.input_size, width)
    core_input = of.input_size if embedding is None else width
    core = _CELLS[section["cell"]](core_input, **arguments, detach=detach(detach_section))
    return nn.SequenceModel(core, of.output_size, embed=embedding, readout=section["readout"])
