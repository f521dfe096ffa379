"""`bptt flow`: how far back in time models learn, in a sentence, on a page, and by the exit status."""

import importlib
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from ._arguments import parse, whole_number
from ._errors import CommandError
from ._folders import check_there, only_study

if TYPE_CHECKING:
    from ..experiments import Trained
    from ..flow import Examination

Tell = Callable[[str], None]

_SEQUENCES = 32


@dataclass(frozen=True)
class Arguments:
    """Say how far back in time models learn, and write a page that shows it.

    Of a run, the weights of its best epoch are examined, or those saved last, on sequences of its validation
    set; a study stands for all of its runs. A factory is a function that returns (model, batch, loss), or a
    dict of arguments of bptt.flow.examine. Several models are drawn on the same axes.
    Exit status: 0 the wanted lag is within reach of some layer of each model, 1 it is not, 2 bad input or an
    error, 130 stopped with Ctrl-C.
    """

    models: Annotated[
        Positional[tuple[str, ...]], arg(metavar="RUN|MODULE:FACTORY ...", help_behavior_hint="(required)")
    ]
    """Run folders, study folders, or functions such as mypackage.models:make."""
    data: Annotated[
        Path | None, arg(metavar="PATH", help_behavior_hint="(default: as in `bptt run`; none for a factory)")
    ] = None
    """Of runs, where the data sets lie; a factory is called with it."""
    lag: Annotated[
        str | None, arg(metavar="N", help_behavior_hint="(default: as far as the sequences go)")
    ] = None
    """How many steps back the model is to learn."""
    sequences: Annotated[str | None, arg(metavar="N", help_behavior_hint="(default: 32)")] = None
    """Of a run, how many sequences of its validation set are looked at."""
    out: Annotated[
        Path | None,
        arg(
            metavar="FILE.html",
            aliases=["-o"],
            help_behavior_hint="(default: flow.html in the one run or study, else here)",
        ),
    ] = None
    """Where to write the page; the numbers go beside it."""
    json: FlagCreatePairsOff[bool] = False
    """Print the verdicts as JSON, and write the page only if --out is given."""


def main(argv: Sequence[str]) -> int:
    """Examine, write the page, and say the verdict."""
    given = parse(Arguments, "flow", argv, takes="run folders, or functions MODULE:FACTORY")
    if not given.models:
        raise CommandError("bptt flow takes run folders, or functions MODULE:FACTORY, got none")
    lag = whole_number("--lag", given.lag)
    if lag is not None and lag < 1:
        raise CommandError(f"--lag must be at least 1, got {given.lag}")
    sequences = whole_number("--sequences", given.sequences)
    if sequences is not None and sequences < 1:
        raise CommandError(f"--sequences must be at least 1, got {given.sequences}")
    if sequences is not None and all(map(_is_factory, given.models)):
        raise CommandError("--sequences must be left out for functions, which choose their own batch")
    if given.out is not None and given.out.suffix != ".html":
        raise CommandError(f"--out must be an HTML file, *.html, got {given.out}")
    number = _SEQUENCES if sequences is None else sequences
    out = given.out
    if out is None and not given.json:
        only = Path(given.models[0])
        out = only / "flow.html" if len(given.models) == 1 and only.is_dir() else Path("flow.html")
    apart = redirect_stdout(sys.stderr) if given.json else nullcontext()  # what a model prints is no JSON
    with apart, _errors_told():
        subjects = [subject for word in given.models for subject in _subjects(word, given.data, number, lag)]
        examined = _examined(subjects, lag)
        if out is not None:
            _write(examined, out)
        documents = [dict(each.document) for each in examined]
        text = json.dumps(documents, ensure_ascii=False, indent=1)
    said = [text] if given.json else [*_said(examined), f"page:  {out}"]
    print(*said, sep="\n")
    return 0 if all(each.diagnosis.within_reach for each in examined) else 1


@dataclass(frozen=True)
class _Subject:
    """What is examined: a name, and a function that makes the arguments of `flow.examine`."""

    name: str
    arguments: Callable[[], dict[str, Any]]
    training: Callable[[], Sequence[dict[str, Any]]] = tuple


def _is_factory(word: str) -> bool:
    return ":" in word and not Path(word).exists()


def _subjects(word: str, data: Path | None, sequences: int, lag: int | None) -> Iterator[_Subject]:
    if _is_factory(word):
        yield _Subject(word, lambda: _made(word, data))
        return
    check_there([Path(word)])
    folder = only_study(Path(word))
    runs = (
        [folder]
        if (folder / "spec.json").is_file()
        else sorted(f.parent for f in folder.glob("**/spec.json"))
    )
    if not runs and any(folder.glob("**/measured.json")):
        raise CommandError(f"{folder} measures layers as they are initialised, and is shown by bptt report")
    if not runs:
        raise CommandError(f"{folder} must be a run folder or a study with runs in it, got one without")
    for run in runs:
        yield _run(run, data, sequences, lag)


def _run(folder: Path, data: Path | None, sequences: int, lag: int | None) -> _Subject:
    from .. import train

    def arguments() -> dict[str, Any]:
        from .. import experiments

        found = experiments.trained(folder, data)
        if lag is not None and lag >= (steps := found.task.steps):
            rule = f"--lag must be from 1 to {steps - 1}, as its sequences have {steps} steps"
            raise CommandError(f"{folder}: {rule}, got {lag}")
        return {
            "model": found.model,
            "batch": found.batch("valid", sequences),
            "loss": found.task.losses,
            "call": found.call,
            "name": found.name,
            "image": found.task.image,
            "about": _trained(folder, found),
        }

    return _Subject(str(folder), arguments, lambda: train.read_flow(folder))


def _trained(folder: Path, found: "Trained") -> dict[str, str]:
    """How a run was trained: what tells it from others first, then its settings."""
    spec = found.spec
    told = {name: spec[name] for name in ("experiment", "profile", "seed")}
    for section in ("task", "model", "train"):
        told |= {f"{section}.{key}": value for key, value in spec[section].items()}
    del told["train.seed"]  # the seed above
    return {
        "run": str(folder),
        "spec": f"sha256 {found.spec_hash[:16]}",
        "trained weights": found.weights,
        "detachment in training": _blocked(found),
    } | {name: str(value) for name, value in told.items()}


def _blocked(found: "Trained") -> str:
    detach, last = found.spec["detach"], found.config.anneal_epochs
    if detach is None:
        return "none"
    told = ", ".join(f"{key} {value}" for key, value in detach.items())
    return f"{told}; none in the last {last} of {found.config.epochs} epochs" if last else told


def _made(word: str, data: Path | None) -> dict[str, Any]:
    """What a factory returns, as arguments of `flow.examine`."""
    from ..flow import examine

    module, _, name = word.partition(":")
    sys.path.insert(0, "")
    try:
        factory = getattr(importlib.import_module(module), name, None)
        if not callable(factory):
            raise CommandError(f"{word} must be MODULE:FACTORY, got no function {name!r} in {module}")
        made = factory() if data is None else factory(data)
    except ModuleNotFoundError as error:
        raise CommandError(f"{word} must be MODULE:FACTORY that can be imported: {error}") from error
    finally:
        sys.path.remove("")
    if isinstance(made, tuple) and len(made) == 3:
        made = dict(zip(("model", "batch", "loss"), made, strict=True))
    if not isinstance(made, dict) or not {"model", "batch", "loss"} <= made.keys():
        got = type(made).__name__
        raise CommandError(f"{word} must return (model, batch, loss), or a dict with these, got {got}")
    known = signature(examine).parameters.keys() - {"observe"}
    if strange := sorted(made.keys() - known):
        raise CommandError(
            f"{word} must return arguments of bptt.flow.examine, {', '.join(sorted(known))}, "
            f"got {strange[0]!r}"
        )
    return {"name": word, "about": {"factory": word}} | made


def _examined(subjects: Sequence[_Subject], lag: int | None) -> "list[Examination]":
    from .. import flow

    examined = []
    with _display() as tell:
        for number, subject in enumerate(subjects, start=1):
            place = f"{subject.name} ({number} of {len(subjects)})" if len(subjects) > 1 else subject.name
            tell(f"{place}: loading")
            with _errors_told(subject.name):
                arguments = subject.arguments()
                if lag is not None:
                    arguments["lag"] = lag
                found = flow.examine(**arguments, observe=partial(_tell_of, tell, place))
                examined.append(_named(found, subject, examined).with_training(subject.training()))
    return examined


def _named(found: "Examination", subject: _Subject, others: "list[Examination]") -> "Examination":
    """Under its folder's name if another has its own name already."""
    if all(found.document["name"] != each.document["name"] for each in others):
        return found
    return replace(found, document={**found.document, "name": subject.name})


@contextmanager
def _errors_told(of: str = "") -> Iterator[None]:
    """Any error, an exit too, as one of ours: 1 would say that a lag is out of reach.

    Those `of` a model that it refuses by a rule are told by their words, others with their place.
    """
    try:
        yield
    except (CommandError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is not None:
            told = f"{error.filename} cannot be used: {error.strerror}"
        elif of and isinstance(error, ValueError | TypeError | FileNotFoundError):
            told = str(error)
        else:
            last = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"
        raise CommandError(f"{of}: {told}" if of else told) from error


def _tell_of(tell: Tell, place: str, what: str) -> None:
    tell(f"{place}: {what}")


def _write(examined: "Sequence[Examination]", out: Path) -> None:
    from .. import report

    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / str(number) for number in range(len(examined))]
        for folder, each in zip(folders, examined, strict=True):
            each.save(folder)
        try:
            report.write_flow(folders, out)
        except report.ReportError as error:
            raise CommandError(str(error)) from error


@contextmanager
def _display() -> Iterator[Tell]:
    """A moving line on a terminal, a line for each measure elsewhere."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _print_progress
        return
    with console.status("loading") as status:
        yield lambda text: status.update(Text(text))


def _print_progress(text: str) -> None:
    with suppress(BrokenPipeError):  # nobody reads it, and the verdict still comes
        print(text, file=sys.stderr, flush=True)


def _said(examined: "Sequence[Examination]") -> Iterator[str]:
    """The verdicts, line by line."""
    for each in examined:
        yield f"{each.document['name']}: {each.document['sentence']}"
        for verdict in each.diagnosis.verdicts:
            if len(each.diagnosis.verdicts) > 1:
                yield f"  {verdict.sentence}"
            for remedy in verdict.remedies:
                yield f"  - {remedy.action}: {remedy.reason}"
        for layer, why in each.diagnosis.left_out.items():
            yield f"  not judged: {layer or 'the model'} {why}"
