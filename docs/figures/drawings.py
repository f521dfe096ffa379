"""How the scripts beside this one write and draw their measurements."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from bptt import report

Row = dict[str, Any]


def table(rows: list[Row]) -> str:
    """CSV, six digits of every number."""
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return file.getvalue()


def lines(axes: Any, series: dict[str, tuple[Sequence[float], Sequence[float]]], **of_axes: Any) -> list[Any]:
    """A line for each series, on a log axis without what it cannot show."""
    axes.set_title(of_axes.pop("title", ""), loc="left", fontsize=12)
    axes.set(**of_axes)
    handles = []
    for index, (x, y) in enumerate(series.values()):
        shown = [(a, b) for a, b in zip(x, y, strict=True) if b > 0 or of_axes.get("yscale") != "log"]
        every = max(1, len(shown) // 12)
        handles += axes.plot(*zip(*shown, strict=True), **report.line_style(index), markevery=every)
    plain(axes)
    return handles


def plain(axes: Any) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            report.plain_log(axis)


def series(rows: list[Row], name: str, x: str, y: str, **where: Any) -> dict[str, Any]:
    """x and y of the rows, by the value of `name`."""
    chosen = [row for row in rows if all(row[key] == value for key, value in where.items())]
    return {
        str(each): tuple([row[key] for row in chosen if row[name] == each] for key in (x, y))
        for each in dict.fromkeys(row[name] for row in chosen)
    }


def by_lag(row: Row, end: str = "") -> tuple[list[int], list[float]]:
    lags = [key for key in row if key.startswith("lag_") and key.endswith(end)]
    return [int(key.split("_")[1]) for key in lags], [row[key] for key in lags]


def positions(sheet: Any, rows: list[Row]) -> None:
    left, right = sheet.subplots(1, 2, sharey=True)
    axis = {"yscale": "log", "xticks": range(1, 5)}
    from_4 = {"": series(rows, "loss_at", "state_at", "norm")["4"]}
    to_1 = {"": series(rows, "state_at", "loss_at", "norm")["1"]}
    lines(left, from_4, xlabel="position i of the state", ylabel="gradient norm", title="‖∂J₄/∂h_i‖", **axis)
    lines(right, to_1, xlabel="position j of the loss", title="‖∂J_j/∂h₁‖", **axis)


def eigenvalues(sheet: Any, rows: list[Row]) -> None:
    left, right = sheet.subplots(1, 2)
    linear = series(rows, "matrix", "eigenvalue", "last_half", activation="linear")
    tanh = series(rows, "matrix", "eigenvalue", "last_half", activation="tanh", matrix="random")
    every = {**{f"{key}, linear": value for key, value in linear.items()}, "random, tanh": tanh["random"]}
    handles = lines(
        left,
        every,
        xlabel="largest |eigenvalue| of W_hh",
        ylabel="factor per step",
        title="far back: the eigenvalue",
    )
    left.axline((0.5, 0.5), slope=1, color="#6b6b6b", linewidth=0.8)
    at = [row for row in rows if row["eigenvalue"] == 0.9]
    near = {key: by_lag(row) for key in every for row in at if key == f"{row['matrix']}, {row['activation']}"}
    lines(
        right,
        near,
        yscale="log",
        xlabel="lag in steps",
        ylabel="gradient norm / that at lag 0",
        title="eigenvalue 0.9: not so at first",
    )
    report.name_below(sheet, handles, list(every), 4)


def clipping(sheet: Any, rows: list[Row]) -> None:
    left, right = sheet.subplots(1, 2)
    before = [row["before"] for row in rows]
    handles = []
    for index, name in enumerate(("norm", "value")):
        style = report.line_style(index) | {"linestyle": "", "alpha": 0.6}
        handles += left.plot(before, [row[f"after_{name}"] for row in rows], **style)
        right.plot(before, [row[f"cosine_{name}"] for row in rows], **style)
    left.set(xscale="log", yscale="log", xlabel="norm before", ylabel="norm after")
    right.set(xscale="log", xlabel="norm before", ylabel="cosine to the gradient before")
    plain(left)
    plain(right)
    report.name_below(sheet, handles, ["clipped to norm 10", "every entry clipped to ±0.5"], 2)


def forget_gate(sheet: Any, rows: list[Row]) -> None:
    *panels, right = sheet.subplots(1, 3, width_ratios=(1, 1, 1.15))
    for axes, name, title in zip(
        panels, ("carry", "whole"), ("∂L/∂c, carry alone", "∂L/∂c, all paths"), strict=True
    ):
        shown = {f"bias {row['bias']}": by_lag(row, name) for row in rows if row["bias"] >= -1}
        frame = {"ylim": (1e-24, 1e4), "xlabel": "lag in steps", "title": title}
        handles = lines(axes, shown, yscale="log", **frame)
    panels[0].set_ylabel("gradient norm / that at lag 0")
    bias = [row["bias"] for row in rows]
    own = right.plot(bias, [row["predicted"] for row in rows], color="#6b6b6b", linewidth=1)
    for index, name in enumerate(("whole", "carry")):
        known = [
            (row["bias"], row[f"half_life_{name}"]) for row in rows if row[f"half_life_{name}"] is not None
        ]
        own += right.plot(*zip(*known, strict=True), **report.line_style(index) | {"linestyle": ""})
    right.set_title("half-life in steps", loc="left", fontsize=12)
    right.set(yscale="log", xlabel="bias of the forget gate")
    plain(right)
    right.legend(own, ["ln 2 / −ln σ(bias)", "all paths", "carry alone"], frameon=False)
    report.name_below(sheet, handles, list(shown), 4)


def lstm(sheet: Any, rows: list[Row]) -> None:
    axes = sheet.subplots()
    found = series(rows, "layer", "gain", "rate")
    handles = lines(axes, found, xlabel="factor on W_hh", ylabel="factor per step on ∂L/∂c", xscale="symlog")
    axes.set_xticks([row["gain"] for row in rows], [f"{row['gain']:g}" for row in rows])
    axes.minorticks_off()
    axes.axhline(1, color="#6b6b6b", linewidth=0.8)
    report.name_below(sheet, handles, list(found), 2)


def shortcuts(sheet: Any, rows: list[Row]) -> None:
    found = series(rows, "reader", "step", "norm")
    axes = sheet.subplots()
    handles = lines(
        axes, found, yscale="log", xlabel="step s of the input", ylabel="‖∂L/∂x_s‖", ylim=(1e-20, 1e3)
    )
    report.name_below(sheet, handles, list(found), 2)
