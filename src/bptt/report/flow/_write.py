"""Writing the page of gradient flow."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace as changed
from pathlib import Path

from .._files import ReportError, file_names, replace
from ._load import load
from ._measurement import Measurement
from ._page import page


def write_flow(folders: Sequence[Path], out: Path) -> Path:
    """Write the page of one or more measurements of gradient flow, which needs no network and no other file.

    The arrays of each measurement are copied beside it: to `out` with the suffix `.npz`, or, of several, to
    files named after each. The same measurements give the same bytes.

    Args:
        folders: each with the `flow.json` and `flow.npz` of a measurement.
        out: the HTML file.

    Returns:
        `out`.

    Raises:
        ReportError: if there is no folder, a file is absent, damaged or foreign, or `out` cannot be written.
    """
    if not folders:
        raise ReportError("folders must hold at least one measurement, got none")
    if out.suffix != ".html":
        raise ReportError(f"out must be an HTML file, *.html, got {out}")
    found = _told_apart([load(folder) for folder in folders])
    names = [f"{out.stem}.npz"]
    if len(found) > 1:
        names = [f"{out.stem}-{name}.npz" for name in file_names([each.name for each in found])]
    text = page(list(zip(found, names, strict=True)))
    for each, name in zip(found, names, strict=True):
        replace(out.with_name(name), each.raw)
    replace(out, text.encode("utf-8"))
    return out


def _told_apart(found: Sequence[Measurement]) -> list[Measurement]:
    """The measurements, numbered where they have the same name."""
    count = Counter(each.name for each in found)
    return [
        changed(each, name=f"{each.name} ({n})") if count[each.name] > 1 else each
        for n, each in enumerate(found, start=1)
    ]
