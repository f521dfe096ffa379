"""Documents that quote records: filled in, and found out when they drift."""

import re
from collections.abc import Iterator
from pathlib import Path

from ._record import RecordError, read
from ._table import markdown

_QUOTE = re.compile(r"(?<!`)(<!-- bench:([\w.-]+)((?: [\w-]+=[^\s>]+)*) -->\n)(.*?)(<!-- /bench -->)", re.S)
_OPEN = re.compile(r"(?<!`)<!-- bench:")  # one in backquotes is told of, not meant


def quoted(text: str, results: Path) -> str:
    """A text whose tables are those of the records.

    A table stands between `<!-- bench:NAME key=value … -->` and `<!-- /bench -->`, and shows the rows of
    `NAME.json` that have these values.

    Args:
        text: with or without such marks.
        results: the folder of the records.

    Raises:
        RecordError: if a mark is not closed, there is no such record, or it may not be shown.
    """

    def fill(found: re.Match[str]) -> str:
        opening, name, filters, _, closing = found.groups()
        path = results / f"{name}.json"
        if not path.exists():
            raise RecordError(f"a table quotes {path}, which does not exist")
        pairs = [(key, value) for key, _, value in (word.partition("=") for word in filters.split())]
        return f"{opening}{markdown(read(path), pairs)}\n{closing}"

    if len(_OPEN.findall(text)) != len(_QUOTE.findall(text)):
        raise RecordError(
            "a mark <!-- bench:NAME --> must stand on a line and be followed by <!-- /bench -->"
        )
    return _QUOTE.sub(fill, text)


def drifted(root: Path) -> list[Path]:
    """Those documents of a checkout whose tables are not those of its records.

    Raises:
        RecordError: as `quoted` does.
    """
    return [path for path, text, right in _documents(root) if text != right]


def fill(root: Path) -> list[Path]:
    """Write the tables of the records into the documents of a checkout.

    Returns:
        The documents that changed.

    Raises:
        RecordError: as `quoted` does; nothing is written then.
    """
    changed = [(path, right) for path, text, right in _documents(root) if text != right]
    for path, right in changed:
        path.write_text(right, encoding="utf-8")
    return [path for path, _ in changed]


def _documents(root: Path) -> Iterator[tuple[Path, str, str]]:
    for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        if path.exists():
            text = path.read_text(encoding="utf-8")
            try:
                yield path, text, quoted(text, root / "results" / "bench")
            except RecordError as error:
                raise RecordError(f"{path}: {error}") from error
