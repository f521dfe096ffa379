"""What came out, in sentences: the outcome, and what the outcome does not cover."""

from collections.abc import Sequence
from dataclasses import dataclass

from . import _words as words
from ._ending import Status
from ._run import Run
from ._statistics import FEWEST_SEEDS, ArmSummary, Estimate, compared_on, summarise
from ._study import Study

#: With fewer pairs even the same sign on every seed is a matter of chance once in 16 times (2 · 0.5⁵).
ENOUGH_PAIRS = 6


@dataclass(frozen=True)
class Problem:
    """A run that is not among the finished ones, and why; `detail` is a traceback, if there is one."""

    run: str
    status: str
    reason: str
    detail: str = ""


def sentence(study: Study) -> str:
    """What was run, in one sentence for somebody who has not seen the spec."""
    labels = [arm.label for arm in study.arms]
    epochs = {study.horizon(arm) for arm in study.arms}
    span = str(epochs.pop()) if len(epochs) == 1 else f"{min(epochs)} to {max(epochs)}"
    what = (
        f"{len(labels)} variants, or arms ({words.names(labels)}), each"
        if len(labels) > 1
        else f"{labels[0]},"
    )
    text = f"{what} trained with {words.seeds(len(study.seeds))} for up to {span} epochs"
    about = str(study.task.get("description") or "").strip().rstrip(".")
    return f"{text} on this task: {about}." if about else f"{text}."


def verdict(study: Study) -> tuple[str, ...]:
    """The outcome in sentences, the most important first; no sentence claims more than the seeds allow."""
    arms = [arm for arm in summarise(study) if arm.finished]
    if not arms:
        return ("No run has finished, so there is no outcome yet.",)
    what = compared_on(study)
    shown = f"{what} {study.score}" if what == "test" else f"best validation {study.score}"
    scored = [arm for arm in arms if getattr(arm, what).n]
    if not scored:
        return (f"The finished runs recorded no {shown}.",)
    lines = [_lead(study, scored, what, shown)]
    lines += [_comparison(study, arm) for arm in arms if arm.difference and arm.difference.n]
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
    if len(study.arms) == 1:
        return f"{top.arm.label} reaches a median {shown} of {value} ({bounds})."
    equal = [arm.arm.label for arm in arms if getattr(arm, what).value == estimate.value]
    if len(equal) > 1:
        return f"{words.names(equal)} share the {extreme} median {shown}: {value}."
    return f"{top.arm.label} has the {extreme} median {shown}: {value} ({bounds})."


def _at_chance(study: Study, estimate: Estimate) -> bool:
    chance = study.chance(study.score)
    if chance is None:
        return False
    worst = estimate.low if study.score == "accuracy" else estimate.high
    worst = estimate.value if worst is None else worst
    return worst <= chance if study.score == "accuracy" else worst >= chance


def _comparison(study: Study, arm: ArmSummary) -> str:
    estimate, base, score = arm.difference, study.arms[0].label, study.score
    if estimate is None:
        return ""
    unit = " percentage points" if score == "accuracy" else ""
    text = f"Seed by seed, {arm.arm.label} differs from {base} by {words.change(estimate.value, score)}{unit}"
    if estimate.n < FEWEST_SEEDS or estimate.low is None or estimate.high is None:
        return (
            f"{text} ({words.seeds(estimate.n)}: too few for an interval, so this tells nothing for certain)."
        )
    text += f" (95% interval {words.change_interval(estimate, score)})"
    if estimate.low <= 0 <= estimate.high:
        return f"{text}: the interval contains zero, so these seeds do not tell the two apart."
    side = "better" if (estimate.low > 0) == (score == "accuracy") else "worse"
    if estimate.n < ENOUGH_PAIRS:
        return f"{text}: {side} here, but with fewer than {ENOUGH_PAIRS} seeds that is a hint, not a proof."
    return f"{text}: {side}, beyond what these seeds vary by."
