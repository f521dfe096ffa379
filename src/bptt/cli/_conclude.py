"""What `run` and `resume` share: showing runs as they go, and what is said at the end."""

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    begun: list[Path] = []
    try:
        with display(Console()) as observe:

            def note(event: experiments.Event) -> None:
                begun[:] = [event.folder.parent.parent if resumed is None else resumed]
                observe(event)

            result = study(note)
        with _undisturbed(result.interrupted):
            return _tell(result, ["bptt", "resume", str(result.folder if resumed is None else resumed)])
    except (experiments.SpecError, experiments.StudyError, train.RunError) as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        if not begun:
            raise
        again = shlex.join(["bptt", "resume", str(begun[0])])
        print(f"stopped; go on from the last checkpoints with:  {again}", file=sys.stderr)
        return 130


@contextmanager
def _undisturbed(wanted: bool) -> Iterator[None]:
    """Let no further Ctrl-C cut off what is said."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(result: experiments.Result, again: list[str]) -> int:
    ended = [event for event in result.events.values() if event.kind in ("skip", "end")]
    print(f"\nended: {len(ended)} of {len(result.events)} runs, in {result.folder}")
    if backends := _backends(result):
        print(f"recurrences computed by {' and '.join(backends)}")
    for event in result.events.values():
        if event.outcome is not None and event.outcome.non_finite is not None:
            print(_diverged(event, event.outcome))
    if result.failed:
        _name_failures(result, again)
    if result.interrupted:
        sys.stdout.flush()
        print(f"{_stop(result)} with:  {shlex.join(again)}", file=sys.stderr)
        return 130
    if result.failed:
        return 1
    print(f"table, page and figures:  {shlex.join(['bptt', 'report', str(result.folder)])}")
    if any((event.folder / "flow.jsonl").exists() for event in ended):
        print(f"gradients through time:   {shlex.join(['bptt', 'flow', str(result.folder)])}")
    return 0


def _backends(result: experiments.Result) -> list[str]:
    ended = (event.folder for event in result.events.values() if event.outcome is not None)
    specs = (train.read_spec(run) for run in ended if (run / "spec.json").exists())
    return sorted({train.served_by(spec["environment"]) for spec in specs})


def _stop(result: experiments.Result) -> str:
    saved = [event.saved for event in result.events.values()]
    ended = any(event.kind in ("skip", "end") for event in result.events.values())
    if False in saved:
        return "stopped; go on from the last checkpoints"
    if ended or result.failed or True in saved:
        return "stopped; all of it is saved, continue"
    return "stopped before the first step of any run; begin"


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
