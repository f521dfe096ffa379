"""Writing a report: every file is made before the first is written, and each appears whole or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ._csv import curves_csv, gradients_csv, runs_csv, summary_csv
from ._curves import figures
from ._files import ReportError, file_names, replace
from ._gradients import gradient_figures
from ._measurement import Measurement, measurement
from ._measurement_page import SHOWN, drawn, measurement_page, norms_csv
from ._measurement_page import summary_csv as measured_csv
from ._page import Drawn, Section, page
from ._static import draw
from ._study import Study, load


@dataclass(frozen=True)
class ReportPaths:
    """Where a report lies: the page, the PNG and SVG of each figure, and the CSV files."""

    index: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]


def write(dirs: Path | str | Iterable[Path | str], out: Path | str | None = None) -> ReportPaths:
    """Write a report: `index.html`, which needs no network and no other file; figures and tables beside it.

    Measurements among trainings have a page of their own, `measurements.html`. The same results give the same
    bytes.

    Args:
        dirs: study folders, folders of them, or run folders: see `load`.
        out: the folder to write into. By default `report` inside the study, or, for several studies, `report`
            in the one folder that was given, or beside them, if they all lie in one folder. With several
            studies each has a folder of its own for its figures and tables.

    Returns:
        The paths written.

    Raises:
        ReportError: a path is not a result folder, or `out` is needed, is a file, or cannot be written to.
    """
    given = [Path(each) for each in ([dirs] if isinstance(dirs, Path | str) else dirs)]
    studies = load(given)
    folder = Path(out) if out is not None else _default(studies, given)
    try:
        taken = folder.exists() and not folder.is_dir()
    except OSError as error:
        raise ReportError(f"{folder} cannot be written: {error.strerror}") from error
    if taken:
        raise ReportError(f"out must be a folder, or a path where one can be made, got the file {folder}")
    contents: dict[str, bytes] = {}
    sections: list[Section] = []
    measured: list[tuple[Measurement, str, dict[str, bytes]]] = []
    for study, place in zip(studies, _places(studies), strict=True):
        if study.measured:
            found = measurement(study)
            images = _images(found)
            measured.append((found, place, images))
            contents |= {f"{place}{name}": data for name, data in images.items()}
            for name, text in (("norms", norms_csv), ("summary", measured_csv)):
                contents[f"{place}{name}.csv"] = text(found).encode("utf-8")
            continue
        curves, gradients = (
            [Drawn(figure, draw(figure)) for figure in found]
            for found in (figures(study), gradient_figures(study))
        )
        sections.append(Section(study, place, curves, gradients))
        for each in (*curves, *gradients):
            contents |= {f"{place}{each.figure.key}.{kind}": data for kind, data in each.images.items()}
        texts = {"curves": curves_csv, "summary": summary_csv, "runs": runs_csv}
        if any(run.seen for run in study.runs):
            texts["gradients"] = gradients_csv
        for name, text in texts.items():
            contents[f"{place}{name}.csv"] = text(study).encode("utf-8")
    if sections:
        contents["index.html"] = page(sections).encode("utf-8")
    if measured:
        name = "measurements.html" if sections else "index.html"
        contents[name] = measurement_page(measured).encode("utf-8")
    for name, data in contents.items():
        replace(folder / name, data)
    made = [folder / name for name in contents]
    return ReportPaths(
        index=folder / "index.html",
        figures=tuple(path for path in made if path.suffix in (".png", ".svg")),
        tables=tuple(path for path in made if path.suffix == ".csv"),
    )


def _images(found: Measurement) -> dict[str, bytes]:
    """The figures of a measurement by the names of their files: one of two quantities, and one for each."""
    if not found.rows:
        return {}
    both = drawn(found, SHOWN[:2], ("png", "svg"))
    images = {f"gradient-norms.{kind}": data for kind, data in both.items()}
    return images | {f"{key}.svg": drawn(found, (key,), ("svg",))["svg"] for key in SHOWN}


def _default(studies: Sequence[Study], given: Sequence[Path]) -> Path:
    if len(studies) == 1:
        return studies[0].folder / "report"
    if len(given) == 1:
        return given[0] / "report"
    parents = {study.folder.resolve().parent for study in studies}
    if len(parents) > 1:
        listed = ", ".join(str(study.folder) for study in studies)
        raise ReportError(f"out must be given for studies that do not lie in one folder, got {listed}")
    return studies[0].folder.parent / "report"


def _places(studies: Sequence[Study]) -> list[str]:
    """Where each study's files go, as a prefix: nothing for one study, else a folder named after each."""
    if len(studies) == 1:
        return [""]
    return [f"{name}/" for name in file_names([study.name for study in studies])]
