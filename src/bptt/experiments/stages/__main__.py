"""`python -m bptt.experiments.stages`: one piece of a stage, from its archive to its archive.

Exit status: 0 if every run has ended, 1 if one failed, 2 for bad input, 3 if the time was over, 130 if it was
stopped by Ctrl-C or SIGTERM. All but 2 leave an archive.
"""

import argparse
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import get_args

from ... import train
from .._problems import SpecError
from .._study import StudyError
from . import STAGES, Piece, pack, piece, unpack


def main() -> int:
    """Go on with a stage, and return the exit status."""
    given = _parser().parse_args()
    name = f"{given.stage}-{given.profile}-{given.precision}"
    out, archive = given.out / name, given.archive or given.out / f"{name}.tar.xz"
    asked = Piece(
        stage=given.stage,
        out=out,
        profile=given.profile,
        precision=given.precision,
        device=given.device,
        minutes=given.minutes,
        data=given.data,
        accept_environment=given.accept_environment,
        command=shlex.join(["python", "-m", "bptt.experiments.stages", *sys.argv[1:]]),
    )
    try:
        spec = asked.spec()
        _check_writable(archive)
        if archive.exists() and (aside := unpack(archive, out, spec)):
            tell(f"{archive} is not of what {out} held, which is in {aside} now")
        out.mkdir(parents=True, exist_ok=True)
        with train.locked(out):
            result = piece(asked, spec, tell)
            with _undisturbed():
                pack(out, archive)
    except (SpecError, StudyError, train.RunError, OSError) as error:
        tell(f"error: {error}")
        return 2
    ended = sum(event.outcome is not None for event in result.events.values())
    tell(f"{ended} of {len(result.events)} runs have ended; all of it is in {archive}")
    if result.failed:
        return 1
    if ended == len(result.events):
        return 0
    tell(f"{'stopped' if result.interrupted else 'the time is over'}; the same command goes on")
    return 130 if result.interrupted else 3


def tell(line: str) -> None:
    """Print a line to whoever still listens: what is trained must not be lost with them."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bptt.experiments.stages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", choices=STAGES)
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/gpu"), metavar="DIR", help="(default: runs/gpu)")
    add("--archive", type=Path, metavar="FILE", help="(default: DIR/STAGE-PROFILE-PRECISION.tar.xz)")
    add(
        "--precision",
        default="float32",
        choices=get_args(train.Precision),
        help="(default: float32, as in the papers)",
    )
    add("--profile", default="paper", metavar="NAME", help="of the experiment (default: paper)")
    add("--device", default="cuda", choices=("cuda", "cpu"), help="(default: cuda)")
    add("--minutes", type=_minutes, default=7.0, metavar="M", help="after which to save (default: 7)")
    add("--data", type=Path, metavar="DIR", help="where the data sets lie, for smnist and pmnist")
    add("--accept-environment", action="store_true", help="go on with runs begun elsewhere, and mark them")
    return parser


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not (isfinite(minutes) and minutes > 0):
        raise argparse.ArgumentTypeError(f"must be a finite number above 0, got {text!r}")
    return minutes


def _check_writable(archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.is_dir() or not os.access(archive.parent, os.W_OK):
        raise train.RunError(f"the archive must be a file that can be written, got {archive}")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no Ctrl-C cut the archive off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        tell("stopped before anything was begun, or a second time: the archive is as it was")
        sys.exit(130)
