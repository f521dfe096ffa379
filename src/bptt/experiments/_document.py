"""Spec files as plain tables: finding and reading them, merging a profile, and `--set`."""

import copy
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from shlex import quote
from typing import Any

from ._problems import Problem, SpecError, unknown

Document = dict[str, Any]

#: The tables that an arm and a profile may override: of a training, and of a measurement.
SECTIONS = ("task", "model", "train")
MEASURED = ("measure",)

# An unquoted word on a command line is a string; everything else has to be TOML.
_BARE_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.+-]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SETTING_RULE = 'must be key=value with a TOML value, such as 0.25 or "adam"'


def names() -> list[str]:
    """The experiments that come with bptt."""
    specs = _specs()
    return sorted(item.name.removesuffix(".toml") for item in specs.iterdir() if item.name.endswith(".toml"))


def read(name_or_file: str | Path) -> Document:
    """The tables of a shipped experiment (by name) or of a spec file (by path).

    Raises:
        SpecError: if there is no such experiment or file, or it is not TOML.
    """
    text = source_text(name_or_file)
    try:
        return _loads(text)
    except ValueError as error:
        raise SpecError([Problem(str(name_or_file), f"must be TOML: {error}")]) from error


def source_text(name_or_file: str | Path) -> str:
    """The text of a spec, with the comments that name each value's source.

    Raises:
        SpecError: if there is no such experiment or file, or it is what a study or run has written.
    """
    given = str(name_or_file)
    if given in names():
        return (_specs() / f"{given}.toml").read_text(encoding="utf-8")
    path = Path(name_or_file)
    if problem := _written_by_a_run(path):
        raise SpecError([problem])
    if isinstance(name_or_file, str) and path.suffix != ".toml" and len(path.parts) == 1:
        raise SpecError([unknown("experiment", "experiment", given, names())])
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError([Problem(given, f"must be a readable spec file: {reason}")]) from error


def with_profile(document: Document, profile: str | None) -> tuple[str, Document, list[Problem]]:
    """Lay a profile over the base values.

    Args:
        document: the tables of a spec file.
        profile: which `[profiles.NAME]`; None for the one `experiment.profile` names, and the base values
            under the name `base` if it names none.

    Returns:
        The profile's name, the document without its profiles, and what is wrong with the request.
    """
    base = copy.deepcopy(document)
    profiles = table(base.pop("profiles", {}))
    default = table(base.get("experiment")).pop("profile", None)
    name = default if profile is None else profile
    if name is None or (name == "base" and default is None and "base" not in profiles):
        return "base", base, []
    key = "experiment.profile" if profile is None else "profile"
    if not profiles:
        rule = "must be left out, or [profiles.NAME] added to the spec, which has none"
        return str(name), base, [Problem(key, f"{rule}, got {name!r}")]
    if not isinstance(name, str) or name not in profiles:
        return str(name), base, [unknown(key, "profile", str(name), profiles)]
    chosen = {key: value for key, value in table(profiles[name]).items() if key != "cost"}
    return name, merged(base, chosen), []


def with_settings(
    document: Document, settings: Iterable[str]
) -> tuple[Document, list[Document], list[Problem]]:
    """Apply `key=value` settings, each a dotted key and a TOML value, to every arm alike.

    Returns:
        The document, the settings that were applied as tables, and a problem for every setting that is no
        `key=value` or names no arm there is.
    """
    problems = []
    applied = []
    arms = table(document.get("arms"))
    for setting in settings:
        try:
            override = _parsed(setting)
        except ValueError:
            problems.append(Problem("--set", f"{_SETTING_RULE}, got {_cut(setting)!r}"))
            continue
        strangers = table(override.get("arms")).keys() - arms.keys()
        if strangers:
            problems += [_unknown_arm(arm, table(override["arms"])[arm], arms) for arm in strangers]
            continue
        applied.append(override)
        document = merged(document, override)
        arms = table(document.get("arms"))
        arms = {name: _over_sections(arm, override) for name, arm in arms.items() if isinstance(arm, dict)}
        document = merged(document, {"arms": arms} if arms else {})
    return document, applied, problems


def sections(document: Mapping[str, Any]) -> tuple[str, ...]:
    """`MEASURED` for a document with a `[measure]`, else `SECTIONS`."""
    return MEASURED if "measure" in document else SECTIONS


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Document:
    """`base` with `over` laid over it, table by table."""
    result = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both_tables else value
    return result


def arm_key(name: str) -> str:
    """How an arm's name is written as a key: `arms.vanilla`, `arms."h-detach-0.25"`."""
    return f"arms.{name}" if _BARE_KEY.fullmatch(name) else f"arms.{json.dumps(name, ensure_ascii=False)}"


def _written_by_a_run(path: Path) -> Problem | None:
    for kind, mark in (("study", "study.json"), ("run", "spec.json")):
        folder = path.parent if path.name == mark else path
        with suppress(OSError):  # a name that the system refuses
            if not (folder / mark).is_file():
                continue
            place = quote(str(folder))
            told = f"`bptt resume {place}` goes on with it, `bptt report {place}` shows it"
            return Problem(str(path), f"must be an experiment or a spec file, got a {kind}: {told}")
    return None


def _specs() -> Traversable:
    return files("bptt.experiments") / "specs"


def _parsed(setting: str) -> Document:
    key, equals, value = setting.partition("=")
    if not equals:
        raise ValueError("no equals sign")
    try:
        return _loads(f"{key} = {value}")
    except ValueError:
        if not _BARE_WORD.fullmatch(value.strip()):
            raise
        return _loads(f'{key} = "{value.strip()}"')


def _loads(text: str) -> Document:
    try:
        document = tomllib.loads(text)
        repr(document)  # Python reads integers of any length, but prints no endless ones
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return document


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"


def _unknown_arm(name: str, told: Any, arms: Iterable[str]) -> Problem:
    # Without quotes, the dots in arms.h-detach-0.25 are those between keys.
    parts = [name]
    while ".".join(parts) not in arms and isinstance(told, dict) and len(told) == 1:
        ((part, told),) = told.items()
        parts.append(part)
    joined = ".".join(parts)
    if joined in arms:
        rule = "the name of an arm must be in quotes if it holds a dot"
        return Problem(f"arms.{joined}", f"{rule}, got none", arm_key(joined))
    problem = unknown(arm_key(name), "arm", name, arms)
    return problem if problem.nearest is None else replace(problem, nearest=arm_key(problem.nearest))


def table(value: Any) -> Document:
    """`value` if it is a table, else an empty one; what is no table is reported by `check`."""
    return value if isinstance(value, dict) else {}


def _over_sections(arm: Any, override: Document) -> Any:
    # A setting is the last word, so it also replaces what an arm sets for itself.
    own = {section: table(table(arm).get(section)) for section in (*SECTIONS, *MEASURED)}
    replaced = {
        section: {key: value for key, value in table(override.get(section)).items() if key in own[section]}
        for section in own
    }
    return merged(arm, {key: values for key, values in replaced.items() if values})
