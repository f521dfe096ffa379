"""`python -m bptt.experiments.stages`: one piece of a stage, from its archive to its archive."""

import argparse
import sys
from math import inf
from pathlib import Path

from ... import train
from .._problems import SpecError
from .._study import StudyError
from . import STAGES, Piece, pack, piece, unpack


def main() -> int:
    """Go on with a stage.

    Returns:
        0 if every run has ended, 1 if one failed, 2 for bad input, 3 if the time was over.
    """
    parser = argparse.ArgumentParser(prog="python -m bptt.experiments.stages", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/gpu"), metavar="DIR", help="(default: runs/gpu)")
    add("--archive", type=Path, metavar="FILE", help="(default: DIR/STAGE-PROFILE-PRECISION.tar.xz)")
    add("--precision", default="float32", metavar="P", help="(default: float32, as in the papers)")
    add("--profile", default="paper", metavar="NAME", help="(default: paper)")
    add("--device", default="cuda", metavar="cuda|cpu", help="(default: cuda)")
    add("--minutes", type=_minutes, default=7.0, metavar="M", help="after which to save (default: 7)")
    add("--data", type=Path, metavar="DIR", help="where the data sets lie")
    add("--accept-environment", action="store_true", help="go on with runs begun elsewhere, and mark them")
    given = parser.parse_args()
    name = f"{given.stage}-{given.profile}-{given.precision}"
    out, archive = given.out / name, given.archive or given.out / f"{name}.tar.xz"

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        if archive.exists() and (aside := unpack(archive, out)):
            tell(f"{archive} is not of what {out} held, which is in {aside} now")
        result = piece(
            Piece(
                stage=given.stage,
                out=out,
                profile=given.profile,
                precision=given.precision,
                device=given.device,
                minutes=given.minutes,
                data=given.data,
                accept_environment=given.accept_environment,
            ),
            tell,
        )
        pack(out, archive)
    except (SpecError, StudyError, train.RunError, OSError) as error:
        tell(f"error: {error}")
        return 2
    ended = sum(event.outcome is not None for event in result.events.values())
    tell(f"{ended} of {len(result.events)} runs have ended; all of it is in {archive}")
    if result.failed:
        return 1
    if ended < len(result.events):
        tell("the time is over; the same command goes on")
        return 3
    return 0


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return minutes


if __name__ == "__main__":
    sys.exit(main())
