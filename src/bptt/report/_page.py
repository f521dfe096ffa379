"""The page of studies: outcome, curves, and how to get the same."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _tables as tables
from ._curves import Figure
from ._ending import Status
from ._html import embedded, render
from ._interactive import describe
from ._look import look
from ._statistics import FEWEST_FOR_SHARE, FEWEST_SEEDS
from ._study import Study
from ._verdict import caution, changed_environment, problems, resumable, sentence, verdict


@dataclass(frozen=True)
class Drawn:
    """A figure with its files: `images` maps png and svg to bytes."""

    figure: Figure
    images: Mapping[str, bytes]


@dataclass(frozen=True)
class Section:
    """A study on the page, its figures by epoch and by training step; its files lie in `place`, beside it."""

    study: Study
    place: str
    curves: Sequence[Drawn]
    gradients: Sequence[Drawn]


def page(studies: Sequence[Section]) -> str:
    """The HTML of a report."""
    widest = max(len(each.study.arms) for each in studies)
    return render(
        "_page.html.j2",
        title=studies[0].study.title if len(studies) == 1 else f"{len(studies)} studies",
        studies=[_section(number, each) for number, each in enumerate(studies, start=1)],
        looks=[look(index) for index in range(widest)],
        fewest=FEWEST_SEEDS,
        fewest_for_share=FEWEST_FOR_SHARE,
    )


def _section(number: int, section: Section) -> dict[str, Any]:
    study = section.study
    return {
        "id": f"study-{number}",
        "place": section.place,
        "study": study,
        "sentence": sentence(study),
        "caution": caution(study.profile),
        "verdict": verdict(study),
        "problems": problems(study),
        "resumable": resumable(study),
        "changed": changed_environment(study),
        "summary": tables.summary_table(study),
        "differences": tables.differences_table(study),
        "hashes": tables.hashes_table(study),
        "runs": tables.runs_table(study),
        "environment": tables.environment_table(study),
        "task": tables.flatten({key: value for key, value in study.task.items() if key != "description"}),
        "spec": json.dumps(study.spec, indent=2, ensure_ascii=False),
        "figures": [_figure(each) for each in section.curves],
        "gradients": [_figure(each) for each in section.gradients],
        "seen": any(run.seen for run in study.runs),
        "unseen": [run for run in study.runs if run.flow_damage],
    }


def _figure(drawn: Drawn) -> dict[str, Any]:
    figure = drawn.figure
    seen = f"{figure.title} against {figure.unit}s for {', '.join(arm.arm.label for arm in figure.arms)}"
    return {
        "figure": figure,
        "caption": _caption(figure),
        "alt": f"{seen}. The values are in the table below the figure.",
        "image": "data:image/svg+xml;base64," + base64.b64encode(drawn.images["svg"]).decode("ascii"),
        "plot": embedded(describe(figure)),
        "table": tables.figure_table(figure),
        "note": f"Large: the median over seeds. Small: {figure.spread}." if _several(figure) else "",
    }


def _caption(figure: Figure) -> str:
    seeds = [seed for arm in figure.arms for seed in arm.seeds]
    sentences = [figure.about] * bool(figure.about)
    if _several(figure) and figure.single:
        sentences.append("Large marks: median over seeds. Small marks: single seeds.")
    elif _several(figure):
        sentences.append(f"Thick lines: median over seeds. Bands: {figure.spread}.")
        sentences += ["Thin lines: single seeds."] * figure.thin_lines
    if any(arm.n.min() < arm.expected for arm in figure.arms):
        each = f"Each {figure.unit} is over the seeds with a value there"
        sentences.append(f"{each}: point at a line to see how many.")
    if any(arm.carried.any() for arm in figure.arms):
        sentences.append("A solved run keeps its last value.")
    if any(seed.status is Status.SOLVED for seed in seeds):
        sentences.append("★ stopped as solved.")
    if any(not seed.status.finished for seed in seeds):
        sentences.append("✕ ended without finishing.")
    return " ".join(sentences)


def _several(figure: Figure) -> bool:
    return any(len(arm.seeds) > 1 for arm in figure.arms)
