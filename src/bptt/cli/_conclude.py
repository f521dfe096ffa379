"""What `run` and `resume` share: showing runs as they go, and what is said at the end."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from .. import experiments, train
from ._errors import CommandError
from ._progress import display


def conclude(
    study: Callable[[Callable[[experiments.Event], None]], experiments.Result], resumed: Path | None = None
) -> int:
    """Run a study under a display, then name the runs that ended otherwise than hoped, and what to do next.

    Args:
        study: runs it, given where to send its events.
        resumed: the study or run folder that was asked for, if one was.

    Returns:
        The exit status.

    Raises:
        CommandError: for a spec or folder that cannot be run.
    """
    try:
        with display(Console()) as observe:
            result = study(observe)
    except (experiments.SpecError, experiments.StudyError, train.RunError) as error:
        raise CommandError(str(error)) from error
    again = ["bptt", "resume", str(result.folder if resumed is None else resumed)]
    ended = [event.outcome for event in result.events.values() if event.outcome is not None]
    print(f"\nended: {len(ended)} of {len(result.events)} runs, in {result.folder}")
    for event in result.events.values():
        if event.outcome is not None and event.outcome.non_finite is not None:
            print(_diverged(event, event.outcome))
    if result.failed:
        _name_failures(result, again)
    if result.interrupted:
        sys.stdout.flush()
        print(f"stopped; all of it is saved, continue with:  {shlex.join(again)}", file=sys.stderr)
        return 130
    if result.failed:
        return 1
    print(f"table, page and figures:  {shlex.join(['bptt', 'report', str(result.folder)])}")
    return 0


def _diverged(event: experiments.Event, outcome: train.Outcome) -> str:
    values = ", ".join(
        f"{name.replace('grad_norm', 'gradient norm')} {value:g}"
        for name, value in (outcome.non_finite or {}).items()
    )
    return (
        f"{event.run.name} ended at step {outcome.step}, in epoch {outcome.epoch}, with a {outcome.status} "
        f"({values}); see {event.folder / 'done.json'}"
    )


def _name_failures(result: experiments.Result, again: list[str]) -> None:
    sys.stdout.flush()
    elsewhere = False
    for event in result.failed:
        record = event.folder / "failed.json"
        more = f"; see {record}" if record.exists() else ""
        print(f"error: {event.run.name} failed: {event.text}{more}", file=sys.stderr)
        elsewhere |= event.text.startswith(train.EnvironmentChangedError.__name__)
    names = ", ".join(event.run.name for event in result.failed)
    print(f"{len(result.failed)} of {len(result.events)} runs failed: {names}", file=sys.stderr)
    if elsewhere:
        print(
            "go on here all the same, which marks the runs:  " + shlex.join([*again, "--accept-environment"]),
            file=sys.stderr,
        )
    elif not result.interrupted:
        if any(" away and run again" in event.text for event in result.failed):
            again = ["bptt", "resume", str(result.folder)]  # a folder moved away cannot be named
        print(f"once the cause is mended, go on with:  {shlex.join(again)}", file=sys.stderr)
