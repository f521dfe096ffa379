"""Runs as they go: bars on a terminal, a line an epoch elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from .. import train
from ..experiments import Event

Observe = Callable[[Event], None]


@contextmanager
def display(console: Console) -> Iterator[Observe]:
    """Show events on a console for as long as the context lasts."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


class Lines:
    """One line when a run starts or goes on, after each epoch, and when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epochs: dict[str, int] = {}  # the last that was told

    def __call__(self, event: Event) -> None:
        text = ending(event) if event.progress is None else self._epoch(event.run.folder, event.progress)
        if text:
            self._console.print(f"{event.run.name}: {text}", soft_wrap=True, highlight=False, markup=False)

    def _epoch(self, run: str, now: train.Progress) -> str:
        finished = 0 if now.metrics is None else now.metrics["epoch"]
        first = run not in self._epochs
        before, self._epochs[run] = self._epochs.get(run, 0), finished
        if first and now.resumed_at:
            return resumption(now)
        if now.metrics is None or finished == before:
            return ""
        valid, left = scores(now.metrics["valid"]), clock(now.seconds_left)
        return f"epoch {now.metrics['epoch']}/{now.epochs}, valid {valid}" + (f", {left}" if left else "")


class Bars:
    """A bar, in epochs, for each run under way and one for all of them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = monotonic()
        self._bars: dict[str, TaskID] = {}
        self._epochs: dict[str, int] = {}  # of every run that was not finished before
        self._done: dict[str, float] = {}
        self._at_first: dict[str, float] = {}  # what a resumed run brought along says nothing about our pace
        self._all = progress.add_task("all runs", total=None, note="", left="")

    def __call__(self, event: Event) -> None:
        run = event.run.folder
        if event.kind == "queue":
            self._epochs[run] = event.run.document.get("train", {"epochs": 1})["epochs"]
        elif event.kind == "start":
            self._bars[run] = self._progress.add_task(event.run.name, total=None, note="", left="")
        elif event.progress is not None:
            self._advance(event, event.progress)
        else:
            if run in self._bars:
                self._progress.remove_task(self._bars.pop(run))
            if event.kind == "end":
                self._done[run] = self._epochs[run]
            self._print(event, ending(event))
        self._advance_all()

    def _print(self, event: Event, text: str) -> None:
        self._progress.console.print(f"{event.run.name}: {text}", highlight=False, markup=False)

    def _advance(self, event: Event, now: train.Progress) -> None:
        run = event.run.folder
        done = now.epoch - 1 + now.epoch_step / now.steps_per_epoch
        self._done[run] = done
        if run not in self._at_first:
            self._at_first[run] = done
            if now.resumed_at:
                self._print(event, resumption(now))
        note = f"valid {scores(now.metrics['valid'])}" if now.metrics else f"loss {now.loss:.4g}"
        left = clock(now.seconds_left)
        self._progress.update(
            self._bars[run], completed=round(done, 1), total=now.epochs, note=note, left=left
        )

    def _advance_all(self) -> None:
        total, done = sum(self._epochs.values()), sum(self._done.values())
        here = done - sum(self._at_first.values())
        left = (total - done) * (monotonic() - self._began) / here if here > 0 else None
        self._progress.update(self._all, completed=round(done, 1), total=total, left=clock(left))


def ending(event: Event) -> str:
    """The start or end of a run in words."""
    outcome = event.outcome
    if outcome is None:
        stopped = f"stopped{event.text and ' '}{event.text}{', saved' if event.saved else ''}"
        words = {"start": "started", "stopped": stopped, "failed": f"failed: {event.text}"}
        return words.get(event.kind, event.text)
    best = (
        f", best valid {scores(outcome.best['valid'])} (epoch {outcome.best['epoch']})"
        if outcome.best
        else ""
    )
    test = f", test {scores(outcome.test)}" if outcome.test else ""
    already = "already " if event.kind == "skip" else ""
    return f"{already}{outcome.status} after epoch {outcome.epoch}{best}{test}"


def resumption(now: train.Progress) -> str:
    """Where a run is taken up, of its first progress, in words."""
    return f"goes on in epoch {now.epoch}/{now.epochs}, after step {now.resumed_at}"


def scores(metrics: Mapping[str, float]) -> str:
    """`accuracy 0.912` or, for a task without accuracy, the loss."""
    name = "accuracy" if "accuracy" in metrics else "loss"
    return f"{name} {metrics[name]:.4g}"


def clock(seconds: float | None) -> str:
    """`5 s left`, `2 min 5 s left`, `2 h 5 min left`, or nothing if it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min left"
    return f"{minutes} min {rest} s left" if minutes else f"{rest} s left"
