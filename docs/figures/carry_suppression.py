"""What became of both gradient paths in the runs of a `carry-suppression` study.

bptt run carry-suppression
.venv/bin/python docs/figures/carry_suppression.py runs/carry-suppression-lite
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import drawings

from bptt import experiments, flow, report, train

ROOT = Path(__file__).resolve().parents[2]
READ = 10  # steps in which the symbols are read, that are asked for at the very end
Row = dict[str, Any]


def seen(folder: Path) -> list[Row]:
    """Both parts of dL/dc_t, in the median over reading steps: at first, and wherever they were split."""
    lines = [line for line in train.read_flow(folder) if any("carry" in o for o in line["layers"].values())]
    ((first,), *_) = (line["layers"].values() for line in lines)
    rows = [row(1, [t for t in first["t"] if t < READ], **untrained(folder))]
    for line in lines:
        (layer,) = line["layers"].values()
        early = [place for place, t in enumerate(layer["t"]) if t < READ]
        rows.append(row(line["step"], early, layer["carry"], layer["gates"]))
    return rows


def row(step: int, early: Sequence[int], carry: Sequence[float], gates: Sequence[float]) -> Row:
    one, other = (median(path[place] for place in early) for path in (carry, gates))
    return {"step": step, "carry": one, "gates": other, "share": one / ((one + other) or 1)}


def untrained(folder: Path) -> dict[str, list[float]]:
    """Both parts by time step, in the median over a batch, before the first update."""
    found = experiments.untrained(folder)
    batch = found.batch("train", found.config.batch_size)
    (split,) = flow.paths(found.model, batch, found.task.loss, call=found.call)
    parts = {"carry": split.carry, "gates": split.gates}
    return {path: part.double().norm(dim=-1).quantile(0.5, 1).tolist() for path, part in parts.items()}


def by_step(runs: dict[str, dict[int, list[Row]]]) -> list[Row]:
    """Median, lowest and highest over seeds, of every arm and step that all of its seeds have."""
    told = []
    for arm, seeds in runs.items():
        each_step = [{row["step"]: row for row in rows} for rows in seeds.values()]
        for step in sorted(set.intersection(*map(set, each_step))):
            same = [of[step] for of in each_step]
            row: Row = {"arm": arm, "step": step, "seeds": len(same)}
            for name in ("share", "carry", "gates"):
                values = [each[name] for each in same]
                row |= {name: median(values), f"{name}_low": min(values), f"{name}_high": max(values)}
            told.append(row)
    return told


def ends(arm: str, seed: int, folder: Path, rows: list[Row]) -> Row:
    """A run in one row: the share at first and at last, and how its weights and accuracy ended."""
    found = experiments.trained(folder)
    weight = found.model.core.weight_hh_l0
    start = (weight.numel() / (3 * weight.shape[1])) ** 0.5  # expected, of U(±1/√H)
    last = max(1, (len(rows) - 1) // 10)
    return {
        "arm": arm,
        "seed": seed,
        "share_first": median(row["share"] for row in rows[1 : last + 1]),
        "share_last": median(row["share"] for row in rows[-last:]),
        "w_hh_norm_first": start,
        "w_hh_norm_best": weight.norm().item(),
        "best_accuracy": max(line["valid"]["accuracy"] for line in train.read_metrics(folder)),
    }


def draw(sheet: Any, rows: list[Row]) -> None:
    left, right = sheet.subplots(1, 2)
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    shares = drawings.series(rows, "arm", "step", "share")
    handles = drawings.lines(
        left, shares, xlabel="optimiser step", ylim=(0, 1), title="share of the carry in dL/dc, t < 10"
    )
    for index, arm in enumerate(arms):
        mine = [row for row in rows if row["arm"] == arm]
        steps = [row["step"] for row in mine]
        colour = report.line_style(index)["color"]
        band = [[row[f"share_{end}"] for row in mine] for end in ("low", "high")]
        left.fill_between(steps, *band, color=colour, alpha=0.15, linewidth=0)
        for name, width in (("carry", 1.0), ("gates", 2.2)):
            right.plot(steps, [row[name] for row in mine], color=colour, linewidth=width)
    right.set(yscale="log", xlabel="optimiser step", ylabel="gradient norm")
    right.set_title("thin: carry, thick: through the gates", loc="left", fontsize=12)
    drawings.plain(right)
    report.name_below(sheet, handles, arms, 3)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT, help="where docs/images and results are")
    given = parser.parse_args(argv)
    runs: dict[str, dict[int, list[Row]]] = {}
    ended = []
    for folder in sorted(path.parent for path in given.study.glob("*/seed-*/done.json")):
        arm, seed = folder.parent.name, int(folder.name.removeprefix("seed-"))
        runs.setdefault(arm, {})[seed] = seen(folder)
        ended.append(ends(arm, seed, folder, runs[arm][seed]))
    if not runs:
        parser.error(f"study must hold finished runs, got none in {given.study}")
    images, results = given.out / "docs" / "images", given.out / "results" / "carry-suppression"
    for place in (images, results):
        place.mkdir(parents=True, exist_ok=True)
    runs = {arm: runs[arm] for arm in ("vanilla", *sorted(runs.keys() - {"vanilla"})) if arm in runs}
    rows = by_step(runs)
    (results / "summary.csv").write_text(drawings.table(rows), encoding="utf-8")
    (results / "runs.csv").write_text(drawings.table(ended), encoding="utf-8")
    drawn = report.figure_files((9.4, 4.4), lambda sheet: draw(sheet, rows), ["svg"])
    (images / "carry-suppression.svg").write_bytes(drawn["svg"])


if __name__ == "__main__":
    main()
