"""The JSON of a bench: whole after every row, and gone on with."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import ops, train
from ._case import Case

FORMAT = 1
Document = dict[str, Any]

_NAMES = ("cell", "shape", "p", "threads", "memory", "mode", "variant", "rival")


class RecordError(ValueError):
    """A file that cannot be gone on with, or not be shown."""


def machine() -> dict[str, Any]:
    """What the ratios depend on: processor, instruction set, versions, settings, and the native library."""
    said = train.environment(train.Config(epochs=1, seed=0))
    for mine in ("threads", "precision", "backend", "device"):
        del said[mine]
    return {**said, "cores": os.cpu_count(), "native_library": _native_library()}


def begin(command: str, path: Path | None, *, keep_forced: bool) -> Document:
    """A document to add rows to: that of a file, or a new one.

    Args:
        command: what makes the rows.
        path: where the document lies, if it does already; None for a new one.
        keep_forced: whether rows that were measured by force stay.

    Raises:
        RecordError: if the file is none of ours, or comes from another machine or other versions.
    """
    here = machine()
    new: Document = {
        "format": FORMAT,
        "commands": [command],
        "machine": here,
        "load": {},
        "rows": [],
    }
    if path is None or not path.exists():
        return new
    old = read(path)
    if changed := sorted(
        key for key in {**old["machine"], **here} if old["machine"].get(key) != here.get(key)
    ):
        what = "; ".join(
            f"{key} {old['machine'].get(key)!r} there, {here.get(key)!r} here" for key in changed
        )
        raise RecordError(f"{path} comes from another machine or library ({what}): name or remove another")
    rows = [row for row in old["rows"] if keep_forced or not row["forced"]]
    return {**old, "commands": list(dict.fromkeys([*old["commands"], command])), "rows": rows}


def read(path: Path) -> Document:
    """The document in a file.

    Raises:
        RecordError: if it is none of ours.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT or "rows" not in document:
        raise RecordError(f"{path} was not written by bptt bench")
    return document


def write(path: Path, document: Document) -> None:
    """Replace a file by the document; it is whole at every moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    train.write_whole(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def has(document: Document, case: Case, rival: str, pairs: int) -> bool:
    """Whether a row stands there, with at least so many pairs."""
    wanted = _name({**case.words(), "rival": rival})
    return any(_name(row) == wanted and row["pairs"] >= pairs for row in document["rows"])


def add(document: Document, row: Mapping[str, Any]) -> None:
    """Put a row at the end, instead of any of the same name."""
    document["rows"] = [old for old in document["rows"] if _name(old) != _name(row)] + [dict(row)]


def forced(document: Document) -> bool:
    """Whether any row was measured by force, on a machine that others may have used."""
    return any(row["forced"] for row in document["rows"])


def _name(row: Mapping[str, Any]) -> str:
    return json.dumps([row[name] for name in _NAMES])


def _native_library() -> str:
    files = [file for folder in ops.__path__ for file in sorted(Path(folder).glob("*bptt_native*"))]
    return hashlib.sha256(files[0].read_bytes()).hexdigest()[:16] if files else "none"
