"""What `run` and `resume` share: showing runs as they go, and what is said at the end."""

import shlex
import sys
from collections.abc import Callable

from rich.console import Console

from .. import experiments, train
from ._errors import CommandError
from ._progress import display
from ._summary import print_summary


def conclude(study: Callable[[Callable[[experiments.Event], None]], experiments.Result]) -> int:
    """Run a study under a display, then print its table, what failed, and what to do next.

    Args:
        study: runs it, given where to send its events.

    Returns:
        The exit status.

    Raises:
        CommandError: for a spec or folder that cannot be run.
    """
    console = Console()
    try:
        with display(console) as observe:
            result = study(observe)
    except (experiments.SpecError, experiments.StudyError, train.RunError) as error:
        raise CommandError(str(error)) from error
    if result.interrupted:
        folder = shlex.quote(str(result.folder))
        print(f"stopped; all of it is saved, continue with: bptt resume {folder}", file=sys.stderr)
        return 130
    print_summary(console, [result.folder])
    for event in result.failed:
        record = event.folder / "failed.json"
        more = f"; see {record}" if record.exists() else ""
        print(f"error: {event.run.name} failed: {event.text}{more}", file=sys.stderr)
    if result.failed:
        names = ", ".join(event.run.name for event in result.failed)
        print(f"{len(result.failed)} of {len(result.events)} runs failed: {names}", file=sys.stderr)
        return 1
    console.print(
        f"\npage, figures and tables:  bptt report {result.folder}", soft_wrap=True, highlight=False
    )
    return 0
