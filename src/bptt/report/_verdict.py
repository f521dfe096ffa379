"""What came out, in sentences: the outcome, and what the outcome does not cover."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import _words as words
from ._ending import Status
from ._run import Run
from ._statistics import FEWEST_SEEDS, ArmSummary, Estimate, compared_on, summarise
from ._study import Study

#: The profile that every experiment has to try that it runs, in seconds.
SMOKE = "smoke"
#: Up to this many seeds are listed in a sentence.
LISTED = 8


@dataclass(frozen=True)
class Problem:
    """A run that is not among the finished ones, and why; `detail` is a traceback, if there is one."""

    run: str
    status: str
    reason: str
    detail: str = ""


def caution(profile: str) -> str:
    """Why the numbers of runs of a profile must not be used at all, if so; else nothing."""
    if profile != SMOKE:
        return ""
    return "These numbers mean nothing: the smoke profile only tries, in seconds, that everything runs."


def sentence(study: Study) -> str:
    """What was run, in one sentence for somebody who has not seen the spec."""
    labels = [arm.label for arm in study.arms]
    epochs = {study.horizon(arm) for arm in study.arms}
    span = str(epochs.pop()) if len(epochs) == 1 else f"{min(epochs)} to {max(epochs)}"
    what = f"{len(labels)} variants, or arms ({words.names(labels)})," if len(labels) > 1 else f"{labels[0]},"
    text = f"{what} {_seeds(study)} for up to {span} epochs{_precision(study)}"
    about = str(study.task.get("description") or "").strip().rstrip(".")
    return f"{text} on this task: {about}." if about else f"{text}."


def verdict(study: Study) -> tuple[str, ...]:
    """The outcome in sentences, the most important first; no sentence claims more than the seeds allow."""
    summaries = summarise(study)
    absent = [f"{arm.arm.label}: {_fate(study, arm)}" for arm in summaries if not arm.finished]
    if len(absent) == len(summaries):
        return (f"No run has finished, so there is no outcome yet ({'; '.join(absent)}).",)
    what = compared_on(study)
    shown = f"{what} {study.score}" if what == "test" else f"best validation {study.score}"
    scored = [arm for arm in summaries if getattr(arm, what).n]
    if not scored:
        return (f"The finished runs recorded no {shown}.",)
    lines = [_lead(study, scored, what, shown)]
    if len(scored) == 1 and len(summaries) > 1:
        lines.insert(0, f"Nothing can be compared: only {scored[0].arm.label} has a {shown}.")
    if absent:
        lines.append(f"Without a finished run, and so compared with nothing: {'; '.join(absent)}.")
    lines += [_comparison(study, arm) for arm in scored if arm.difference and arm.difference.n]
    if any(arm.arm == study.arms[0] for arm in scored):
        lines += [_apart(study, arm) for arm in scored if arm.difference and not arm.difference.n]
    guessing = [arm.arm.label for arm in scored if _at_chance(study, getattr(arm, what))]
    if guessing:
        chance = words.score(study.chance(study.score), study.score)
        lines.append(f"Not clearly better than guessing ({chance}): {words.names(guessing)}.")
    lost = sum(not run.status.finished for run in study.runs)
    if lost:
        whole = f"{lost} of {len(study.runs)} runs did not finish"
        lines.append(f"Not counted: {whole}, which may flatter their arms.")
    return tuple(lines)


def problems(study: Study) -> tuple[Problem, ...]:
    """Every expected run that did not finish, and every folder that nobody expected."""
    found = [
        Problem(run.name, run.status.value, run.reason, run.traceback)
        for run in study.runs
        if not run.status.finished
    ]
    found += [
        Problem(name, "not listed", "study.json does not expect this run: it is in no number and no figure")
        for name in study.strays
    ]
    return tuple(found)


def resumable(study: Study) -> bool:
    """Whether `bptt resume` has something to do."""
    return any(run.status in (Status.FAILED, Status.UNFINISHED, Status.MISSING) for run in study.runs)


def changed_environment(study: Study) -> tuple[Run, ...]:
    """The runs that were resumed under another environment than they began in."""
    return tuple(run for run in study.runs if run.environment_changed)


def _lead(study: Study, arms: Sequence[ArmSummary], what: str, shown: str) -> str:
    better, extreme = (max, "highest") if study.score == "accuracy" else (min, "lowest")
    top = better(arms, key=lambda arm: getattr(arm, what).value)
    estimate = getattr(top, what)
    value, bounds = words.score(estimate.value, study.score), words.interval(estimate, study.score)
    if len(arms) == 1:
        return f"{top.arm.label} reaches a median {shown} of {value} ({bounds})."
    equal = [arm.arm.label for arm in arms if getattr(arm, what).value == estimate.value]
    if len(equal) > 1:
        return f"{words.names(equal)} share the {extreme} median {shown}: {value}."
    return f"{top.arm.label} has the {extreme} median {shown}: {value} ({bounds})."


def _seeds(study: Study) -> str:
    """`each with 3 seeds`, or, where the arms' seeds are not the same, those of each."""
    own = {arm: sorted(run.seed for run in study.of(arm)) for arm in study.arms}
    if len({tuple(seeds) for seeds in own.values()}) == 1:
        return f"{'each ' if len(own) > 1 else ''}with {words.seeds(len(own[study.arms[0]]))}"
    listed = (
        f"{words.seeds(len(seeds))}"
        + (f" ({', '.join(map(str, seeds))})" if 0 < len(seeds) <= LISTED else "")
        + f" of {arm.label}"
        for arm, seeds in own.items()
    )
    return f"with {words.names(list(listed))}"


def _precision(study: Study) -> str:
    """How the numbers were rounded, if otherwise than in float32, in which the papers computed."""
    trained = (spec.get("train") for arm in study.arms for spec in study.specs(arm))
    told = {train.get("precision") for train in trained if isinstance(train, Mapping)}
    others = sorted(str(each) for each in told - {None, "float32"})
    return f", computed in {words.names(others)} instead of float32," if others else ""


def _fate(study: Study, arm: ArmSummary) -> str:
    """What became of the runs of an arm: `2 failed and 1 missing`."""
    counts = Counter(run.status.value for run in study.of(arm.arm))
    return words.names([f"{count} {status}" for status, count in counts.items()]) if counts else "no run"


def _at_chance(study: Study, estimate: Estimate) -> bool:
    chance = study.chance(study.score)
    if chance is None:
        return False
    if study.score == "accuracy":
        return (estimate.least if estimate.low is None else estimate.low) <= chance
    return (estimate.greatest if estimate.high is None else estimate.high) >= chance


def _apart(study: Study, arm: ArmSummary) -> str:
    pair = f"{arm.arm.label} and {study.arms[0].label}"
    return f"{pair} have no finished seed in common, so they are not compared seed by seed."


def _comparison(study: Study, arm: ArmSummary) -> str:
    estimate, base, score = arm.difference, study.arms[0].label, study.score
    if estimate is None:
        return ""
    unit = " percentage points" if score == "accuracy" else ""
    amount = f"{words.change(estimate.value, score)}{unit} ({words.change_interval(estimate, score)})"
    text = f"Seed by seed, {arm.arm.label} differs from {base} by {amount}"
    side = "better" if (estimate.value > 0) == (score == "accuracy") else "worse"
    if estimate.n == 1:
        return f"{text}: one seed tells nothing for certain."
    if estimate.low is None or estimate.high is None:
        if estimate.least <= 0 <= estimate.greatest:
            return f"{text}: these seeds do not tell the two apart."
        few = f"fewer than {FEWEST_SEEDS} seeds are a hint, not a proof"
        return f"{text}: {side} on each of these seeds, but {few}."
    if estimate.low <= 0 <= estimate.high:
        return f"{text}: the interval contains zero, so these seeds do not tell the two apart."
    return f"{text}: {side}, beyond what these seeds vary by."
