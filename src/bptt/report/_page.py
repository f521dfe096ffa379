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
    """A figure with its files: `images` maps png and svg to bytes; they lie in `place`, beside the page."""

    figure: Figure
    images: Mapping[str, bytes]
    place: str


def page(studies: Sequence[tuple[Study, Sequence[Drawn]]]) -> str:
    """The HTML of a report."""
    widest = max(len(study.arms) for study, _ in studies)
    return render(
        "_page.html.j2",
        title=studies[0][0].title if len(studies) == 1 else f"{len(studies)} studies",
        studies=[_section(number, study, drawn) for number, (study, drawn) in enumerate(studies, start=1)],
        looks=[look(index) for index in range(widest)],
        fewest=FEWEST_SEEDS,
        fewest_for_share=FEWEST_FOR_SHARE,
    )


def _section(number: int, study: Study, drawn: Sequence[Drawn]) -> dict[str, Any]:
    return {
        "id": f"study-{number}",
        "place": drawn[0].place if drawn else "",
        "study": study,
        "sentence": sentence(study),
        "caution": caution(study),
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
        "figures": [_figure(each) for each in drawn],
    }


def _figure(drawn: Drawn) -> dict[str, Any]:
    figure = drawn.figure
    labels = ", ".join(arm.arm.label for arm in figure.arms)
    return {
        "figure": figure,
        "place": drawn.place,
        "caption": _caption(figure),
        "alt": f"{figure.title} against epochs for {labels}. The values are in the table below the figure.",
        "image": "data:image/svg+xml;base64," + base64.b64encode(drawn.images["svg"]).decode("ascii"),
        "plot": embedded(describe(figure)),
        "table": tables.figure_table(figure),
        "note": f"Large: the median over seeds. Small: {figure.spread}." if _several(figure) else "",
    }


def _caption(figure: Figure) -> str:
    seeds = [seed for arm in figure.arms for seed in arm.seeds]
    sentences = []
    if _several(figure) and figure.last == 1:
        sentences.append("Large marks: median over seeds. Small marks: single seeds.")
    elif _several(figure):
        sentences.append(f"Thick lines: median over seeds. Bands: {figure.spread}.")
        sentences += ["Thin lines: single seeds."] * figure.thin_lines
    if any(arm.n.min() < arm.expected for arm in figure.arms):
        sentences.append("Each epoch is over the seeds that reached it: point at a line to see how many.")
    if any(arm.carried.any() for arm in figure.arms):
        sentences.append("A solved run keeps its last value.")
    if any(seed.status is Status.SOLVED for seed in seeds):
        sentences.append("★ stopped as solved.")
    if any(not seed.status.finished for seed in seeds):
        sentences.append("✕ ended without finishing.")
    return " ".join(sentences)


def _several(figure: Figure) -> bool:
    return any(len(arm.seeds) > 1 for arm in figure.arms)
