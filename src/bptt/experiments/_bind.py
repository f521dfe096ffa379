"""Sections bound to the signatures of what they will build: complete with defaults, or what is wrong."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Literal

from .. import Detach, nn, tasks, train
from ._fields import LARGEST, Field, bind, fields_of
from ._measure import Measure
from ._problems import Problem, unknown

Bound = tuple[dict[str, Any], list[Problem]]

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
#: What surrounds a cell, beside the cell's own arguments.
AROUND_CELLS = {
    "cell": Field(Literal["lstm", "gru", "rnn"]),
    "embed": Field(Literal["none", "linear", "lookup"], "none"),
    "embed_size": Field(int | Literal["none"], "none"),
    "readout": Field(Literal["each", "last", "mean", "max"]),
}
# What a cell's constructor takes and a spec does not set: sizes come from the task, the rest from bptt.
_NOT_OF_CELLS = ("input_size", "batch_first", "device", "dtype", "detach")
# Far above what anything needs; beyond, torch's own arithmetic of sizes overflows.
_SIZE, _LAYERS, _OF_TASK = 2**24, 1000, 10**8
# Not in a spec at 0: those of runs from before there were these, with their hashes, stay what they are.
_IF_SET = ("watch_every", "paths_every")
_AT_MOST = {"hidden_size": _SIZE, "proj_size": _SIZE, "embed_size": _SIZE, "num_layers": _LAYERS}


def task_fields(name: Any) -> dict[str, Field]:
    """What a `[task]` of this name may hold; of an unknown name, what any task may, of any type."""
    if not isinstance(name, str) or name not in tasks.names():
        return {"name": Field(str)} | {
            key: Field(Any, None) for each in tasks.names() for key in task_fields(each) if key != "name"
        }
    fields = fields_of(tasks.factory(name), leave_out=("data",))
    limits = {key: LARGEST if key.endswith("seed") else _OF_TASK for key in fields}
    return {"name": Field(str)} | {key: replace(fields[key], at_most=limits[key]) for key in fields}


def model_fields(cell: Any) -> dict[str, Field]:
    """What a `[model]` with this cell may hold; with an unknown one, what any may, of any type."""
    if not isinstance(cell, str) or cell not in CELLS:
        return {key: Field(Any, None) for each in CELLS for key in model_fields(each)} | AROUND_CELLS
    fields = AROUND_CELLS | fields_of(CELLS[cell], leave_out=_NOT_OF_CELLS)
    return {key: replace(field, at_most=_AT_MOST.get(key, LARGEST)) for key, field in fields.items()}


def train_fields() -> dict[str, Field]:
    """What a `[train]` may hold: the seed of a run comes from `seeds`."""
    fields = fields_of(train.Config, leave_out=("seed",))
    return {key: replace(field, at_most=None) for key, field in fields.items()}


def measure_fields() -> dict[str, Field]:
    """What a `[measure]` may hold."""
    return fields_of(Measure)


def bind_task(given: Mapping[str, Any]) -> Bound:
    """Check a `[task]`: its name, and the arguments of that task's function except where its data lies."""
    name = given.get("name")
    complete, problems = bind("task", given, task_fields(name))
    if isinstance(name, str) and name not in tasks.names():
        problems.append(unknown("task.name", "task", name, tasks.names()))
    return complete, problems


def bind_model(given: Mapping[str, Any]) -> Bound:
    """Check a `[model]`: the cell, its constructor's arguments, and what SequenceModel puts around it."""
    complete, problems = bind("model", given, model_fields(given.get("cell")))
    if not problems:
        problems = _embed_size(complete["embed"], complete["embed_size"])
    return complete, problems


def _embed_size(embed: str, width: Any) -> list[Problem]:
    if (embed == "none") != (width == "none"):
        rule = 'given with embed = "linear" or "lookup", and only then'
    elif width != "none" and width < 1:
        rule = "an integer ≥ 1"
    else:
        return []
    return [Problem("model.embed_size", f"must be {rule}, got {width!r}")]


def bind_train(given: Mapping[str, Any]) -> Bound:
    """Check a `[train]` against `bptt.train.Config`, whose seed comes from `seeds`."""
    complete, problems = bind("train", given, train_fields())
    told = {problem.key for problem in problems}
    known = {key: given[key] for key in given if key in complete and f"train.{key}" not in told}
    try:
        config = asdict(train.Config(**{"epochs": 10**9, **known, "seed": 0}))
        complete = {key: config[key] for key in complete if config[key] or key not in _IF_SET}
    except train.ConfigError as error:
        # Config knows the ranges; types, and nearest names, have been told already.
        problems += [Problem(f"train.{field}", message) for field, message in error.problems]
    return complete, problems


def bind_measure(given: Mapping[str, Any]) -> Bound:
    """Check a `[measure]`."""
    complete, problems = bind("measure", given, measure_fields())
    return complete, problems or Measure(**complete).problems()


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
    "measure": bind_measure,
}
