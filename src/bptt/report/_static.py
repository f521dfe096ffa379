"""The figures of a study as PNG and SVG."""

import textwrap
from typing import Any

from ._curves import ArmCurve, Figure
from ._ending import Status
from ._look import look
from ._sheet import DASHES, FAINT, INK, MARKERS, figure_files, name_below


def draw(figure: Figure) -> dict[str, bytes]:
    """The files of a figure: `png` and `svg`."""
    labels = [textwrap.shorten(arm.arm.label, 80, placeholder="…") or "…" for arm in figure.arms]
    columns = max(1, min(len(labels), 96 // (max(map(len, labels)) + 8)))
    rows = -(-len(labels) // columns)

    def fill(sheet: Any) -> None:
        name_below(sheet, _fill(sheet.subplots(), figure), labels, columns)

    return figure_files((7.2, 4.2 + 0.22 * (rows - 1)), fill)


def _fill(axes: Any, figure: Figure) -> list[Any]:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

    axes.set_title(figure.title, loc="left", fontsize=12, color=INK, pad=16 if figure.anneal_starts else 8)
    axes.set_xlabel(figure.unit)
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
    handles = [_draw_arm(axes, figure, arm) for arm in figure.arms]
    _mark(axes, figure)
    if figure.limits:
        axes.set_ylim(*figure.limits)
    low, high = axes.get_ylim()
    if figure.log and high < 1000 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    return handles


def _draw_arm(axes: Any, figure: Figure, arm: ArmCurve) -> Any:
    own = look(arm.index)
    line = {"color": own.light, "linestyle": DASHES[own.dash]}
    low, median, high = (figure.drawn(each) for each in (arm.low, arm.median, arm.high))
    if len(arm.seeds) > 1:
        axes.fill_between(arm.x, low, high, color=own.light, alpha=0.13, linewidth=0)
        for seed in arm.seeds if figure.thin_lines else ():
            dot = {"marker": "o", "markersize": 2.5} if seed.values.size == 1 else {}
            axes.plot(seed.x, figure.drawn(seed.values), color=own.light, linewidth=0.6, alpha=0.35, **dot)
    for seed, x, y in figure.ends(arm):
        shape = "*" if seed.status is Status.SOLVED else "x"
        axes.plot(x, y, shape, color=own.light, markersize=7, markeredgewidth=1.8, zorder=4)
    step = max(1, round(arm.x.size / 10))
    return axes.plot(
        arm.x,
        median,
        **line,
        linewidth=2.0,
        marker=MARKERS[own.marker],
        markersize=5 if arm.x.size > 1 else 6,
        markevery=(arm.index * step // 3 % step, step),
        zorder=3,
    )[0]


def _mark(axes: Any, figure: Figure) -> None:
    faint = {"color": FAINT, "linewidth": 1, "linestyle": (0, (2, 2)), "zorder": 1}
    for text, value in figure.levels:
        axes.axhline(value, **faint)
        place = axes.get_yaxis_transform()
        axes.text(0.995, value, text, transform=place, ha="right", va="bottom", color=FAINT, fontsize=9)
    for epoch in figure.anneal_starts:
        axes.axvline(epoch - 0.5, **faint)
        place = axes.get_xaxis_transform()
        axes.text(epoch - 0.5, 1.01, "p = 0 from here", transform=place, ha="center", color=FAINT, fontsize=9)
