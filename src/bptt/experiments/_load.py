"""From a name and some flags to a spec, or to everything that is wrong with them."""

from collections.abc import Sequence
from pathlib import Path

from ._check import check, check_profiles, select
from ._document import Document, read, with_profile, with_settings
from ._labels import relabelled
from ._problems import SpecError
from ._spec import Spec


def load(
    name_or_file: str | Path,
    *,
    profile: str | None = None,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    settings: Sequence[str] = (),
    device: str = "cpu",
) -> Spec:
    """Read and validate a spec: base values, then the profile, then the arms' own, then the settings.

    Args:
        name_or_file: one of `names()`, or the path of a TOML file.
        profile: one of the file's `[profiles.NAME]`; None for the one that the file names as its usual one.
        arms: run only these; None for all.
        seeds: instead of the spec's.
        settings: `key=value` with a dotted key and a TOML value, such as `"task.delay=300"`; the last word.
            An arm that one changes, its label aside, is labelled with its name and what was changed.
        device: `"cpu"` or `"cuda"` (which GPU: `CUDA_VISIBLE_DEVICES`).

    Returns:
        The spec, every section complete with defaults and bound to the signature of what it will build.

    Raises:
        SpecError: with all problems found, each with its key, rule, expected, got and nearest right name.
    """
    document = read(name_or_file)
    problems = check_profiles(document)
    told = {problem.key for problem in problems}
    chosen, document, found = with_profile(document, profile)
    problems += found
    changed, applied, found = with_settings(document, settings)
    document = relabelled(document, changed, applied)
    problems += found
    spec, found = check(document, chosen, device)
    problems += [problem for problem in found if f"profiles.{chosen}.{problem.key}" not in told]
    spec, found = select(spec, arms, seeds)
    problems += found
    if problems:
        raise SpecError(dict.fromkeys(problems), str(name_or_file))
    return spec


def overlaid(
    name_or_file: str | Path, *, profile: str | None = None, settings: Sequence[str] = ()
) -> Document:
    """The tables of a spec file without profiles that says what this one does with these laid over it.

    Args:
        name_or_file: as in `load`.
        profile: as in `load`.
        settings: as in `load`.

    Raises:
        SpecError: if there is no such file or profile, or a setting is none. `load` finds what else is wrong.
    """
    _, document, problems = with_profile(read(name_or_file), profile)
    changed, applied, found = with_settings(document, settings)
    if problems or found:
        raise SpecError([*problems, *found], str(name_or_file))
    return relabelled(document, changed, applied)
