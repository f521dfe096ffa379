"""A document, bound to the signatures of what it will build: a Spec, or everything that is wrong with it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from . import _build
from ._bind import BINDERS, bind_detach
from ._document import MEASURED, SECTIONS, Document, arm_key, sections, table
from ._fields import Field, bind
from ._labels import check_labels
from ._nearest import detach_belongs_to_arms, elsewhere
from ._problems import Problem, unknown
from ._spec import Arm, Section, Spec

_ABOUT = {"name": Field(str), "title": Field(str), "source": Field(str, "")}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check(document: Document, profile: str, device: str) -> tuple[Spec, list[Problem]]:
    """Bind a document, its profile and settings already applied, to the real signatures.

    Returns:
        The spec, to be used only if the list of problems beside it is empty.
    """
    problems = _shape(document)
    about, found = bind("experiment", table(document.get("experiment")), _ABOUT)
    problems += elsewhere(found, document)
    problems += _device(device, sections(document) == MEASURED)
    seeds, found = _seeds("seeds", document.get("seeds"))
    problems += found
    problems += _name("experiment.name", about.get("name"))
    arms = []
    if not document.get("arms"):
        problems.append(Problem("arms", "must hold at least one [arms.NAME], got none"))
    for name, given in (table(document.get("arms")) or {"none": {}}).items():
        arm, found = _arm(name, given, document)
        arms.append(arm)
        problems += found
    problems += check_labels(arms)
    if device == "cpu" and any(arm.sections.get("train", {}).get("precision") == "tf32" for arm in arms):
        problems.append(Problem("train.precision", 'must be one that a CPU has, got "tf32"'))
    split = [arm for arm in arms if arm.sections.get("train", {}).get("paths_every")]
    if any(arm.model.get("cell") == "rnn" for arm in split):
        rule = 'must be 0 for cell = "rnn", which has no carry'
        problems.append(Problem("train.paths_every", f"{rule}, got {split[0].train['paths_every']}"))
    base = {section: BINDERS[section](table(document.get(section)))[0] for section in sections(document)}
    name, title = about.get("name", ""), about.get("title", "")
    spec = Spec(name, profile, title, about["source"], device, tuple(seeds), tuple(arms), base)
    return spec, list(dict.fromkeys(problems))


def check_profiles(document: Document) -> list[Problem]:
    """What is wrong in any profile, chosen or not, under its own keys."""
    profiles = document.get("profiles", {})
    if not isinstance(profiles, dict):
        return [Problem("profiles", f"must be a table, got {profiles!r}")]
    problems = []
    for name, told in profiles.items():
        key, profile = f"profiles.{name}", table(told)
        problems += _name(key, name) + elsewhere(
            _keys(key, told, ("cost", "seeds", *sections(document))), document, f"{key}."
        )
        if not isinstance(profile.get("cost", ""), str):
            problems.append(Problem(f"{key}.cost", f"must be a string, got {profile['cost']!r}"))
        if "seeds" in profile:
            problems += _seeds(f"{key}.seeds", profile["seeds"])[1]
        for section in sections(document):
            _, found = BINDERS[section]({**table(document.get(section)), **table(profile.get(section))})
            placed = (_placed(problem, key, profile) for problem in elsewhere(found, document))
            problems += [problem for problem in placed if problem.key.startswith(key)]
    return problems


def select(spec: Spec, arms: Sequence[str] | None, seeds: Sequence[int] | None) -> tuple[Spec, list[Problem]]:
    """Keep only some arms, and put other seeds in place of the spec's."""
    problems = []
    by_name = {arm.name: arm for arm in spec.arms}
    chosen = spec.arms
    if arms is not None:
        problems += [unknown("arms", "arm", arm, by_name) for arm in arms if arm not in by_name]
        chosen = tuple(arm for arm in spec.arms if arm.name in arms)
        if not arms:
            problems.append(Problem("arms", "must name at least one arm, got none"))
        if len(set(arms)) < len(arms):
            problems.append(Problem("arms", f"must not repeat an arm, got {' '.join(arms)}"))
    if seeds is not None:
        _, found = _seeds("seeds", list(seeds))
        problems += found
    return replace(spec, arms=chosen, seeds=spec.seeds if seeds is None else tuple(seeds)), problems


def _device(device: str, measured: bool) -> list[Problem]:
    if device not in ("cpu", "cuda"):
        return [unknown("device", "device", device, ("cpu", "cuda"))]
    if device == "cuda" and measured:
        return [Problem("device", "must be 'cpu' for a measurement, got 'cuda'")]
    if device == "cuda" and not torch.cuda.is_available():
        return [Problem("device", "must be one that this machine has, got 'cuda' and torch finds no GPU")]
    return []


def _shape(document: Document) -> list[Problem]:
    top = ("experiment", "seeds", *sections(document), "arms")
    strangers = [key for key in document if key not in (*top, "detach")]
    problems = elsewhere([unknown(key, "section", key, top) for key in strangers], document)
    if "detach" in document:
        problems.append(detach_belongs_to_arms(document))
    tables = {key: document.get(key, {}) for key in top if key != "seeds"}
    wrong = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    return problems + [Problem(key, f"must be a table, got {value!r}") for key, value in wrong.items()]


def _arm(name: str, told: Any, document: Document) -> tuple[Arm, list[Problem]]:
    key = arm_key(name)
    problems = _name(key, name) + elsewhere(
        _keys(key, told, ("label", "detach", *sections(document))), document, f"{key}."
    )
    given = table(told)
    label = given.get("label", name)
    if not isinstance(label, str):
        problems.append(Problem(f"{key}.label", f"must be a string, got {label!r}"))
    detach = given.get("detach")
    bound: dict[str, Section] = {}
    broken = set()
    for section in sections(document):
        own = table(given.get(section))
        complete, found = BINDERS[section]({**table(document.get(section)), **own})
        bound[section] = complete
        broken |= {section} if found else set()
        problems += [_placed(problem, key, given) for problem in elsewhere(found, document)]
    if detach is not None:
        detach, found = bind_detach(f"{key}.detach", detach)
        problems += elsewhere(found, document, f"{key}.")
        broken |= {"detach"} if found else set()
    arm = Arm(name, label, bound, detach)
    problems += [_placed(problem, key, given) for problem in _build.trial(arm, broken)]
    return arm, problems


def _placed(problem: Problem, owner: str, given: Document) -> Problem:
    # A problem belongs to the arm or profile that set the key; otherwise to the shared section, told once.
    section, _, key = problem.key.partition(".")
    if section not in given or (key and key.split(".")[0] not in table(given[section])):
        return problem
    nearest = problem.nearest
    if nearest is not None and nearest.partition(".")[0] in (*SECTIONS, *MEASURED):
        nearest = f"{owner}.{nearest}"
    return replace(problem, key=f"{owner}.{problem.key}", nearest=nearest)


def _keys(key: str, given: Any, known: Sequence[str]) -> list[Problem]:
    if not isinstance(given, dict):
        return [Problem(key, f"must be a table, got {given!r}")]
    return [
        unknown(f"{key}.{name}", "key", name, known, path=f"{key}.") for name in given if name not in known
    ]


def _name(key: str, name: Any) -> list[Problem]:
    if isinstance(name, str) and not _NAME.fullmatch(name):
        return [
            Problem(
                key,
                f"must be a name of letters, digits, '.', '_' and '-', for it names a folder, got {name!r}",
            )
        ]
    return []


def _seeds(key: str, seeds: Any) -> tuple[list[int], list[Problem]]:
    if seeds is None:
        rule = "must be given above the first [section], such as seeds = [0, 1]"
        return [], [Problem(key, f"{rule}, got nothing")]
    right = isinstance(seeds, list) and all(
        isinstance(s, int) and not isinstance(s, bool) and 0 <= s < 2**63 for s in seeds
    )
    if not right or not seeds:
        rule = "must be a list of at least one integer, each 0 ≤ … < 2**63"
        return [], [Problem(key, f"{rule}, got {seeds!r}")]
    if len(set(seeds)) < len(seeds):
        return [], [Problem(key, f"must not repeat a seed, got {seeds!r}")]
    return seeds, []
