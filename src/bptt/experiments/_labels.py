"""Labels that stay true: an arm that a setting has changed says so wherever it is shown."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ._document import Document, arm_key, merged, table
from ._problems import Problem
from ._spec import Arm


def relabelled(before: Document, after: Document, given: Iterable[Document]) -> Document:
    """A document whose arms say in their labels what settings have changed of them.

    Args:
        before: the document without the settings.
        after: with them.
        given: the settings; where one gives an arm a label, that label stands.
    """
    named = {name for each in given for name, arm in table(each.get("arms")).items() if "label" in table(arm)}
    were, labels = table(before.get("arms")), {}
    for name, arm in table(after.get("arms")).items():
        old = dict(_leaves(table(were.get(name))))
        changed = [f"{key} = {_text(value)}" for key, value in _leaves(table(arm)) if old.get(key) != value]
        if changed and name not in named:
            labels[name] = {"label": f"{name} with {', '.join(changed)}"}
    return merged(after, {"arms": labels}) if labels else after


def check_labels(arms: Iterable[Arm]) -> list[Problem]:
    """A problem for every arm whose label an arm before it has, too."""
    first: dict[str, str] = {}
    problems = []
    for arm in arms:
        other = arm_key(first.setdefault(str(arm.label), arm.name))
        if other != arm_key(arm.name):
            rule = f"must be of this arm alone, for it names it in the report, but {other} has it too"
            problems.append(Problem(f"{arm_key(arm.name)}.label", f"{rule}, got {arm.label!r}"))
    return problems


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1 and 1.0 are one value of a float field
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
