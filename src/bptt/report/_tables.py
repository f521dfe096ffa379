"""The tables of a study as text, the same for the terminal and the page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _words as words
from ._curves import ArmCurve, Figure
from ._run import Run
from ._statistics import ArmSummary, compared_on, summarise
from ._study import Study

COMPARED = {"test": "Test", "best": "Best validation"}


@dataclass(frozen=True)
class Cell:
    """A text, and under it, smaller, what qualifies it."""

    text: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Named columns and rows of cells; the first cell of a row names it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def turned(self) -> "Table":
        """The same table with a column for each row: few columns, for a terminal of 80 letters."""
        columns = (self.columns[0], *(row[0].text for row in self.rows))
        rest = enumerate(self.columns[1:], start=1)
        return Table(columns, tuple((Cell(name), *(row[at] for row in self.rows)) for at, name in rest))


def summary_table(study: Study) -> Table:
    """What each arm came to, a row per arm: the table that the page begins with, good for a terminal too."""
    arms = summarise(study)
    tested = any(arm.test.n for arm in arms)
    several = len(arms) > 1
    columns = ["Arm", "Seeds finished", f"Final validation {study.score}", "Best validation"]
    columns += ["Test, best model"] * tested
    columns += [f"{COMPARED[compared_on(study)]} against {study.arms[0].label}"] * several
    if study.score == "accuracy":
        columns += [f"Epochs to {reach.threshold:.0%}" for reach in arms[0].reach]
        levels = {arm.solved_at for arm in arms}
        columns += [f"Solved (≥\u00a0{100 * levels.pop():g}%)" if len(levels) == 1 else "Solved"]
    return Table(tuple(columns), tuple(_summary_row(study, arm, tested, several) for arm in arms))


def _summary_row(study: Study, arm: ArmSummary, tested: bool, several: bool) -> tuple[Cell, ...]:
    score = study.score
    lost = [run for run in study.of(arm.arm) if not run.status.finished]
    row = [
        Cell(arm.arm.label),
        Cell(f"{arm.finished} of {arm.expected}", ", ".join(sorted({run.status.value for run in lost}))),
    ]
    for estimate in (arm.final, arm.best, *([arm.test] if tested else [])):
        row.append(Cell(words.score(estimate.value, score), words.interval(estimate, score, arm.expected)))
    if several:
        row.append(_difference_cell(arm, score))
    if score == "accuracy":
        row += [Cell(*words.reach(reach)) for reach in arm.reach]
        row.append(Cell(*words.solved(arm.solved, arm.solved_count)))
    return tuple(row)


def _difference_cell(arm: ArmSummary, score: str) -> Cell:
    if arm.difference is None:
        return Cell("—", "compared with itself")
    if not arm.difference.n:
        return Cell("—", "no seed in common")
    unit = " points" if score == "accuracy" else ""
    return Cell(
        words.change(arm.difference.value, score) + unit, words.change_interval(arm.difference, score)
    )


def runs_table(study: Study) -> Table:
    """Every expected run, whatever became of it."""
    score = study.score
    columns = ("Run", "Status", "Epochs", f"Best validation {score}", f"Test {score}", "Steps/s")
    return Table(columns, tuple(_run_row(run, score) for run in study.runs))


def _run_row(run: Run, score: str) -> tuple[Cell, ...]:
    return (
        Cell(run.name),
        Cell(run.status.value, "in a changed environment" if run.environment_changed else ""),
        Cell(str(run.epochs) if run.curves else "—"),
        Cell(words.score(run.best.get(score), score), f"epoch {run.best_epoch}" if run.best_epoch else ""),
        Cell(words.score(run.test.get(score), score)),
        Cell("—" if run.steps_per_second is None else f"{run.steps_per_second:.3g}", run.timing_damage),
    )


def hashes_table(study: Study) -> Table:
    """What identifies the settings and the results of each run."""
    rows = (
        (run.name, *(text or "—" for text in (run.spec_hash, run.metrics_sha256, run.weights_sha256)))
        for run in study.runs
    )
    columns = ("Run", "Specification", "metrics.jsonl", "weights.safetensors")
    return Table(columns, tuple(tuple(Cell(text) for text in row) for row in rows))


def differences_table(study: Study) -> Table:
    """The keys of the spec whose values differ between arms, the seed aside."""
    flat = {arm: flatten(next(iter(study.specs(arm)), {})) for arm in study.arms}
    keys = sorted({key for values in flat.values() for key in values if key not in ("seed", "train.seed")})
    rows = []
    for key in keys:
        values = [None if (value := flat[arm].get(key)) == "null" else value for arm in study.arms]
        named = all(value in (arm.name, arm.label) for arm, value in zip(study.arms, values, strict=True))
        if len(set(values)) > 1 and not named:
            rows.append((Cell(key), *(Cell("—" if value is None else value) for value in values)))
    return Table(("Key", *(arm.label for arm in study.arms)), tuple(rows))


def environment_table(study: Study) -> Table:
    """What the runs ran on: a row per fact, its values with the number of runs that share each."""
    facts: dict[str, dict[str, list[str]]] = {}
    read = [run for run in study.runs if run.environment]
    for run in read:
        for key, value in flatten(run.environment).items():
            facts.setdefault(key, {}).setdefault(value, []).append(run.name)
    rows = []
    for key in sorted(facts):
        for value, runs in facts[key].items():
            every = len(runs) == len(read)
            rows.append((Cell(key), Cell(value), Cell("every run" if every else ", ".join(runs))))
    return Table(("Fact", "Value", "Runs"), tuple(rows))


def figure_table(figure: Figure, most: int = 10) -> Table:
    """The values of a figure at up to `most` places, first and last among them, for who cannot see it."""
    places = np.linspace(1, figure.x.size, min(figure.x.size, most)).round().astype(int)
    rows = [
        (Cell(str(x)), *(_figure_cell(figure, arm, x) for arm in figure.arms)) for x in figure.x[places - 1]
    ]
    return Table((figure.unit.capitalize(), *(arm.arm.label for arm in figure.arms)), tuple(rows))


def _figure_cell(figure: Figure, arm: ArmCurve, x: int) -> Cell:
    at = int(np.searchsorted(arm.x, x))
    if at == arm.x.size or arm.x[at] != x or not arm.n[at]:
        return Cell("—")
    median, low, high = (figure.said(float(each[at])) for each in (arm.median, arm.low, arm.high))
    n = words.seeds(int(arm.n[at]))
    return Cell(median, f"{low.removesuffix('%')}–{high}, {n}" if len(arm.seeds) > 1 else "")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested table as `section.key` → JSON text; texts lose their quotes."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = (
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            )
    return flat
