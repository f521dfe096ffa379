"""Where a key belongs that was written in the wrong place or under another library's name."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from .. import Detach
from ._bind import measure_fields, model_fields, task_fields, train_fields
from ._document import Document, arm_key, sections, table
from ._fields import fields_of
from ._problems import Problem

_ALIASES = {
    "batch": "batch_size",
    "clip": "clip_norm",
    "grad_clip": "clip_norm",
    "hidden": "hidden_size",
    "hidden_dim": "hidden_size",
    "layers": "num_layers",
    "learning_rate": "lr",
    "max_norm": "clip_norm",
    "n_epochs": "epochs",
    "n_layers": "num_layers",
    "p": "h",
    "units": "hidden_size",
}


def elsewhere(problems: Iterable[Problem], document: Document, owner: str = "") -> list[Problem]:
    """The problems, unknown keys among them with the nearest key of any section of this document.

    Args:
        problems: keys, and the nearest right ones so far, of `owner`.
        document: what the keys were found in.
        owner: who may hold sections: the document itself, or `"arms.NAME."` or `"profiles.NAME."`.
    """
    return [
        replace(problem, nearest=_nearest(problem, _keys(document, owner))) if problem.unknown else problem
        for problem in problems
    ]


def detach_belongs_to_arms(document: Document) -> Problem:
    """The problem of a `detach` that stands outside an arm, and how to write it."""
    example = f"--set '{_detach_key(document)}.h=0.5'"
    return Problem("detach", f"must stand in an arm, such as {example}, got it outside")


def _nearest(problem: Problem, keys: Mapping[str, str]) -> str | None:
    word = problem.unknown or ""
    if word in keys:
        return keys[word]
    if problem.nearest is not None:
        return problem.nearest
    close = difflib.get_close_matches(word, keys, n=1, cutoff=0.6)
    return keys[close[0]] if close else None


def _keys(document: Document, owner: str) -> dict[str, str]:
    # By their last part, which is what people remember.
    fields = {
        "task": task_fields(table(document.get("task")).get("name")),
        "model": model_fields(table(document.get("model")).get("cell")),
        "train": train_fields(),
        "measure": measure_fields(),
    }
    keys = {key: f"{owner}{section}.{key}" for section in sections(document) for key in fields[section]}
    detach = f"{owner}detach" if owner.startswith("arms.") else _detach_key(document)
    keys |= {"detach": detach} | {key: f"{detach}.{key}" for key in fields_of(Detach)}
    keys |= {"seed": "seeds", "seeds": "seeds"} | {
        key: f"experiment.{key}" for key in ("name", "title", "source")
    }
    return {alias: keys[key] for alias, key in _ALIASES.items() if key in keys} | keys


def _detach_key(document: Document) -> str:
    arms = table(document.get("arms"))
    blocking = [name for name, arm in arms.items() if "detach" in table(arm)]
    return f"{arm_key(next(iter(blocking or arms), 'NAME'))}.detach"
