"""Figures as PNG and SVG, drawn by matplotlib without global state; the same figure gives the same bytes."""

import io
import textwrap
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._curves import ArmCurve, Figure
from ._ending import Status
from ._look import look

_INK, _FAINT = "#1a1a1a", "#6b6b6b"
_STYLE: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text: small files, found by a search, drawn in the reader's font
    "svg.hashsalt": "bptt",
    "text.parse_math": False,  # an arm may be called $x$
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
}
_DASHES = {"solid": "-", "dash": (0, (5, 2)), "dot": (0, (1, 1.5)), "dashdot": (0, (6, 2, 1, 2))}
_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v"}


def draw(figure: Figure) -> dict[str, bytes]:
    """The files of a figure: `png` and `svg`."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    with style.context(["default", dict(_STYLE)]), warnings.catch_warnings():
        # A name in a script that the bundled font lacks: boxes in the PNG, and right in the SVG.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        labels = [textwrap.shorten(arm.arm.label, 80, placeholder="…") or "…" for arm in figure.arms]
        columns = max(1, min(len(labels), 96 // (max(map(len, labels)) + 8)))
        rows = -(-len(labels) // columns)
        sheet = Sheet(figsize=(7.2, 4.2 + 0.22 * (rows - 1)), layout="constrained")
        FigureCanvasAgg(sheet)
        _name(sheet, _fill(sheet.subplots(), figure), labels, columns)
        files = {}
        for kind, metadata in (("png", {}), ("svg", {"Date": None})):
            with io.BytesIO() as file:
                sheet.savefig(file, format=kind, dpi=200, metadata=metadata)
                files[kind] = file.getvalue()
        sheet.clear()
    return files


def _fill(axes: Any, figure: Figure) -> list[Any]:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

    axes.set_title(figure.title, loc="left", fontsize=12, color=_INK, pad=16 if figure.anneal_starts else 8)
    axes.set_xlabel("epoch")
    axes.set_ylabel(figure.axis)
    last = figure.last
    axes.set_xlim(0.5 if last < 20 else 0, last + max(0.5, 0.015 * last))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    if figure.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if figure.percent:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol="%"))
    handles = [_draw_arm(axes, arm, figure.thin_lines) for arm in figure.arms]
    _mark(axes, figure)
    low, high = axes.get_ylim()
    if figure.log and high < 1000 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    return handles


def _name(sheet: Any, handles: list[Any], labels: list[str], columns: int) -> None:
    legend = sheet.legend(
        handles, [""] * len(labels), loc="outside lower left", ncols=columns, frameon=False, handlelength=3.2
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)  # set afterwards, as a label that opens with _ would be left out


def _draw_arm(axes: Any, arm: ArmCurve, thin_lines: bool) -> Any:
    own = look(arm.index)
    line = {"color": own.light, "linestyle": _DASHES[own.dash]}
    if len(arm.seeds) > 1:
        axes.fill_between(arm.epochs, arm.low, arm.high, color=own.light, alpha=0.13, linewidth=0)
        for seed in arm.seeds if thin_lines else ():
            epochs = np.arange(1, seed.values.size + 1)
            dot = {"marker": "o", "markersize": 2.5} if seed.values.size == 1 else {}
            axes.plot(epochs, seed.values, color=own.light, linewidth=0.6, alpha=0.35, **dot)
    for seed in arm.seeds:
        if seed.status is not Status.COMPLETED and np.isfinite(seed.values).any():
            end = np.flatnonzero(np.isfinite(seed.values))[-1]
            shape = "*" if seed.status is Status.SOLVED else "x"
            axes.plot(
                end + 1, seed.values[end], shape, color=own.light, markersize=7, markeredgewidth=1.8, zorder=4
            )
    step = max(1, round(arm.median.size / 10))
    return axes.plot(
        arm.epochs,
        arm.median,
        **line,
        linewidth=2.0,
        marker=_MARKERS[own.marker],
        markersize=5 if arm.median.size > 1 else 6,
        markevery=(arm.index * step // 3 % step, step),
        zorder=3,
    )[0]


def _mark(axes: Any, figure: Figure) -> None:
    faint = {"color": _FAINT, "linewidth": 1, "linestyle": (0, (2, 2)), "zorder": 1}
    for text, value in figure.levels:
        axes.axhline(value, **faint)
        place = axes.get_yaxis_transform()
        axes.text(0.995, value, text, transform=place, ha="right", va="bottom", color=_FAINT, fontsize=9)
    for epoch in figure.anneal_starts:
        axes.axvline(epoch - 0.5, **faint)
        place = axes.get_xaxis_transform()
        axes.text(
            epoch - 0.5, 1.01, "p = 0 from here", transform=place, ha="center", color=_FAINT, fontsize=9
        )
