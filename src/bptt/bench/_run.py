"""Every row of a request: checked, then timed, then recorded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch

from ._case import Case
from ._check import TOLERANCE, check
from ._data import make
from ._measure import measure
from ._rivals import contenders
from ._work import work

Row = dict[str, Any]


def measure_row(case: Case, rival: str, *, pairs: int, tell: Callable[[int], object] = lambda _: None) -> Row:
    """Check a row, then time it.

    Args:
        case: our side.
        rival: the other.
        pairs: how many to time.
        tell: is called with the number of pairs done.

    Returns:
        The row as JSON holds it.

    Raises:
        MismatchError: if the two sides do not compute the same.
        ValueError: if the rival cannot do what the case wants.
    """
    with threads(case.threads):
        error = check(case, rival)
        mine, other = contenders(case, rival)
        data = make(case)
        timed = measure(work(case, data, mine), work(case, data, other), pairs=pairs, tell=tell)
    return {
        **case.words(),
        "rival": rival,
        "ratio": asdict(timed.ratio),
        "pairs": pairs,
        "max_error": error,
        "tolerance": TOLERANCE,
    }


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Inside, torch and our kernels compute on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
