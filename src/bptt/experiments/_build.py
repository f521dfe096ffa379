"""From sections to objects: what a spec may say is what these constructors accept, and nothing else."""

import json
import warnings
from collections.abc import Collection
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import NamedTuple, Self

import torch

from .. import Detach, nn, tasks, train
from ..streams import stream
from . import _measure
from ._bind import AROUND_CELLS, CELLS
from ._problems import Problem, first_line
from ._spec import Arm, Section


def task(section: Section, data: Path | None) -> tasks.Task:
    """Make the task of a section, its data from `data` or from where tasks look for it.

    Raises:
        ValueError: if the task refuses an argument.
        FileNotFoundError: if its data is not found.
    """
    arguments = {key: value for key, value in section.items() if key not in ("name", "fingerprint")}
    if data is not None and reads_data(section):
        arguments["data"] = data
    return tasks.make(section["name"], **arguments)


def check_data(of: tasks.Task, section: Section) -> None:
    """Raise if a task has other data than the section was resolved with.

    Raises:
        RuntimeError: with both fingerprints.
    """
    if of.fingerprint() != section["fingerprint"]:
        expected = section["fingerprint"]
        raise RuntimeError(
            f"the data of {section['name']} must have fingerprint {expected}, got {of.fingerprint()}"
        )


def reads_data(section: Section) -> bool:
    """Whether the task of a section reads files, so that it matters where they lie."""
    return "data" in signature(tasks.factory(section["name"])).parameters


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
    if "measure" in arm.sections:
        return [] if broken else _measure.misfit(arm.sections["measure"], arm.detach)
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
        return first_line(error)


def misfit(arm: Arm, known: Sizes) -> list[Problem]:
    """What the model's constructors refuse of an arm on a task of these sizes; no memory is taken."""
    try:
        # torch only warns of a dropout without a layer to act on; a spec holds no value without effect.
        with torch.device("meta"), warnings.catch_warnings(action="error"):
            _assemble(arm.model, known, arm.detach)
    except (TypeError, ValueError, RuntimeError, UserWarning) as error:
        return _of_message("model", first_line(error), arm.model)
    return []


def _of_message(section: str, message: str, keys: Section) -> list[Problem]:
    """Constructors name what they refuse in the first word of each of their problems."""
    problems = []
    for part in message.split("; "):
        first, _, rest = part.partition(" ")
        problems.append(Problem(f"{section}.{first}", rest) if first in keys else Problem(section, part))
    return problems


def _assemble(section: Section, of: Sizes, detach_section: Section | None) -> nn.SequenceModel:
    arguments = {key: value for key, value in section.items() if key not in AROUND_CELLS}
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
    core = CELLS[section["cell"]](core_input, **arguments, detach=detach(detach_section))
    return nn.SequenceModel(core, of.output_size, embed=embedding, readout=section["readout"])
