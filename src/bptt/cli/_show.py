"""`bptt show`: what a spec comes to."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from ._arguments import parse
from ._errors import CommandError


@dataclass(frozen=True)
class Arguments:
    """Show a resolved spec: every value with its defaults filled in, its source, and its runs."""

    experiment: Annotated[Positional[str], arg(metavar="NAME|FILE")]
    """One of `bptt ls`, or a spec file."""
    profile: Annotated[
        str | None, arg(metavar="NAME", help_behavior_hint="(default: the spec's usual one)")
    ] = None
    """Which [profiles.NAME] to lay over the base values."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Another value for a key, as in `bptt run`."""
    text: FlagCreatePairsOff[bool] = False
    """Print the spec file itself, whose comments give the source of each value. With --profile or --set it
    is a spec file of what they come to, without comments."""


def main(argv: Sequence[str]) -> int:
    """Print the spec."""
    given = parse(Arguments, "show", argv, takes="one experiment: a name of `bptt ls` or a spec file")
    from rich.console import Console

    from .. import experiments

    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        spec = experiments.load(given.experiment, profile=given.profile, settings=given.set)
        text = experiments.source_text(given.experiment)
        if given.profile is not None or given.set:
            text = _file(
                experiments.overlaid(given.experiment, profile=given.profile, settings=given.set), argv
            )
    except experiments.SpecError as error:
        raise CommandError(str(error)) from error
    if given.text:
        console.print(text, end="")
        return 0
    console.print(f"{spec.experiment}, profile {spec.profile}: {spec.title}")
    if spec.source:
        console.print(f"source: {spec.source}")
    first = spec.arms[0]
    for section, values in first.sections.items():
        console.print(f"\n[{section}]")
        for key, value in values.items():
            console.print(f"{key} = {_toml(value)}")
    for arm in spec.arms:
        console.print(f'\n[arms."{arm.name}"]')
        console.print(f"label = {_toml(arm.label)}")
        console.print(f"detach = {_toml(arm.detach)}")
        for section, values in arm.sections.items():
            for key, value in values.items():
                if first.sections[section].get(key) != value:
                    console.print(f"{section}.{key} = {_toml(value)}")
    console.print(f"\n{len(spec.runs)} runs in {spec.folder}/")
    for run in spec.runs:
        console.print(f"  {run.folder}")
    again = shlex.join(["bptt", "show", given.experiment, "--text"])
    console.print(f"\nthe spec file, with the source of each value:  {again}")
    return 0


def _file(document: Mapping[str, Any], argv: Sequence[str]) -> str:
    """A spec file with these tables; its comment says where they are from."""
    lines = ["# " + " ".join(shlex.join(["bptt", "show", *argv]).split())]
    lines += [f"{key} = {_toml(value)}" for key, value in document.items() if not isinstance(value, dict)]
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    arms = tables.pop("arms")
    for name, values in (tables | {f'arms."{arm}"': values for arm, values in arms.items()}).items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    match value:
        case None:
            return '"none"'
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case dict():
            return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return str(value)
