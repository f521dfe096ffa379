"""A sheet to draw on in the look of all figures, without global state; the same drawing, the same bytes."""

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._look import look

INK, FAINT = "#1a1a1a", "#6b6b6b"
DASHES = {"solid": "-", "dash": (0, (5, 2)), "dot": (0, (1, 1.5)), "dashdot": (0, (6, 2, 1, 2))}
MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v"}
_STYLE: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text: small files, found by a search, drawn in the reader's font
    "svg.hashsalt": "bptt",
    "text.parse_math": False,  # an arm may be called $x$
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
}


def figure_files(
    size: tuple[float, float], fill: Callable[[Any], None], kinds: Sequence[str] = ("png", "svg")
) -> dict[str, bytes]:
    """The files of a figure, by their kinds.

    Args:
        size: width and height in inches.
        fill: draws on a `matplotlib.figure.Figure`.
        kinds: of `"png"` and `"svg"`.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    with style.context(["default", dict(_STYLE)]), warnings.catch_warnings():
        # A name in a script that the bundled font lacks: boxes in the PNG, and right in the SVG.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        sheet = Sheet(figsize=size, layout="constrained")
        FigureCanvasAgg(sheet)
        fill(sheet)
        files = {}
        for kind in kinds:
            with io.BytesIO() as file:
                sheet.savefig(file, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else {})
                files[kind] = file.getvalue()
        sheet.clear()
    return files


def line_style(index: int) -> dict[str, Any]:
    """How matplotlib draws the line of the arm at `index`."""
    own = look(index)
    return {"color": own.light, "linestyle": DASHES[own.dash], "marker": MARKERS[own.marker], "markersize": 5}


def plain_log(axis: Any) -> None:
    """Mark a log axis at powers of ten, or at 1, 2 and 5 of each where it spans few, with plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = (math.log10(end) for end in axis.get_view_interval())
    apart = next((size for size in (1, 2, 5, 10, 20, 50) if high - low < 8 * size), 100)
    decades = range(-(-math.floor(low) // apart) * apart, math.ceil(high) + 1, apart)
    digits = (1, 2, 5) if high - low < 3 else (1,)
    axis.set_major_locator(FixedLocator([float(f"{digit}e{ten}") for ten in decades for digit in digits]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def name_below(sheet: Any, handles: list[Any], labels: list[str], columns: int) -> None:
    """A legend below the figure."""
    legend = sheet.legend(
        handles, [""] * len(labels), loc="outside lower left", ncols=columns, frameon=False, handlelength=3.2
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)  # set afterwards, as a label that opens with _ would be left out
