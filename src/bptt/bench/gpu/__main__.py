"""`python -m bptt.bench.gpu`: every row is checked before it is timed, and written as soon as it is there."""

import argparse
import sys
from pathlib import Path

import torch

from .._check import MismatchError
from .._record import RecordError
from . import rows, run


def main() -> int:
    """Measure what a record lacks, a line for each row.

    Returns:
        0 if all is there, 1 after a mismatch, 3 if the time was over.
    """
    parser = argparse.ArgumentParser(prog="python -m bptt.bench.gpu", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the record; it is gone on with"
    )
    parser.add_argument(
        "--pairs", type=int, default=15, metavar="N", help="of timings for a row (default: 15)"
    )
    parser.add_argument(
        "--seconds", type=float, default=420, metavar="S", help="begin no row after so many (default: 420)"
    )
    given = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error(f"a GPU must be there, and torch {torch.__version__} finds none")

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        done = run(given.out, list(rows()), "cuda", pairs=given.pairs, seconds=given.seconds, tell=tell)
    except RecordError as error:
        parser.error(str(error))
    except MismatchError as error:
        tell(f"error: {error}")
        return 1
    return 0 if done else 3


if __name__ == "__main__":
    sys.exit(main())
