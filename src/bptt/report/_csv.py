"""The numbers behind the page, for other programs: tidy, complete, with every digit."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

from ._statistics import Estimate, summarise
from ._study import Study


def curves_csv(study: Study) -> str:
    """`arm,seed,epoch,metric,value`: every value of every readable run; nan, inf and -inf as such."""
    rows = (
        (run.arm, run.seed, epoch, metric, repr(float(value)))
        for run in study.runs
        for metric, values in run.curves.items()
        for epoch, value in enumerate(values, start=1)
    )
    return write_csv(("arm", "seed", "epoch", "metric", "value"), rows)


def gradients_csv(study: Study) -> str:
    """`arm,seed,step,layer,quantity,value`: what the figures of gradients show, of every readable run.

    A half-life is inf where the gradient does not fall; what is not known is nan.
    """
    rows = (
        (run.arm, run.seed, seen.step, seen.layer, quantity, repr(value))
        for run in study.runs
        for seen in run.seen
        for quantity, value in seen.values.items()
    )
    return write_csv(("arm", "seed", "step", "layer", "quantity", "value"), rows)


def summary_csv(study: Study) -> str:
    """`arm,quantity,value,low,high,seeds`: the summary table unrounded; an epoch never reached is inf.

    `low` and `high` are empty where there are too few seeds for an interval.
    """
    rows: list[tuple[object, ...]] = []
    for arm in summarise(study):
        name = arm.arm.name
        rows += [
            (name, "runs expected", arm.expected, "", "", ""),
            (name, "runs finished", arm.finished, "", "", ""),
        ]
        estimates = {
            f"final validation {study.score}": arm.final,
            f"best validation {study.score}": arm.best,
            f"test {study.score}": arm.test,
            **{f"epochs to {reach.threshold:g}": reach.estimate for reach in arm.reach},
        }
        if study.score == "accuracy":
            estimates[f"share solved at {arm.solved_at:g}"] = arm.solved
        if arm.difference is not None:
            estimates[f"difference from {study.arms[0].name}"] = arm.difference
        rows += [(name, quantity, *_cells(estimate)) for quantity, estimate in estimates.items()]
    return write_csv(("arm", "quantity", "value", "low", "high", "seeds"), rows)


def runs_csv(study: Study) -> str:
    """One row per expected run: how it ended, its scores and its hashes."""
    rows = [
        {
            "arm": run.arm,
            "seed": run.seed,
            "folder": run.name,
            "status": run.status.value,
            "reason": run.reason,
            "epochs": run.epochs,
            "best_epoch": run.best_epoch,
            f"best_validation_{study.score}": run.best.get(study.score),
            f"test_{study.score}": run.test.get(study.score),
            "steps_per_second": run.steps_per_second,
            "spec_hash": run.spec_hash,
            "metrics_sha256": run.metrics_sha256,
            "weights_sha256": run.weights_sha256,
        }
        for run in study.runs
    ]
    return write_csv(tuple(rows[0]) if rows else (), (tuple(row.values()) for row in rows))


def _cells(estimate: Estimate) -> tuple[object, ...]:
    value = "" if math.isnan(estimate.value) else estimate.value
    return (value, estimate.low, estimate.high, estimate.n)


def write_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file, as text."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()
