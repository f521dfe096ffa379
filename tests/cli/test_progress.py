"""Bars on a terminal and lines elsewhere, from the same events."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bptt import train
from bptt.cli._progress import clock, display
from bptt.experiments import Event, load

RUN = load("copying", profile="smoke").runs[0]
FOLDER = Path("somewhere")


def at(epoch, step, metrics=None, resumed_at=0):
    progress = train.Progress(
        epoch=epoch, epochs=3, step=4 * (epoch - 1) + step, epoch_step=step, steps_per_epoch=4, loss=1.5,
        seconds=30.0, resumed_at=resumed_at, metrics=metrics,
    )  # fmt: skip
    return Event("progress", RUN, FOLDER, progress=progress)


def line(epoch):
    return {"epoch": epoch, "valid": {"loss": 0.5, "accuracy": 0.25 * epoch}}


OUTCOME = train.Outcome(
    folder=FOLDER,
    spec="",
    status="completed",
    epoch=3,
    step=12,
    best={"epoch": 2, "valid": {"loss": 0.5, "accuracy": 0.75}},
    test={"loss": 0.4, "accuracy": 0.5},
    non_finite=None,
    metrics_sha256="",
    weights_sha256=None,
    environment_changed=False,
)
EVENTS = [
    Event("queue", RUN, FOLDER),
    Event("start", RUN, FOLDER),
    at(1, 2),
    at(1, 4, line(1)),
    at(2, 1, line(1)),
    at(2, 4, line(2)),
    Event("end", RUN, FOLDER, outcome=OUTCOME),
]


def shown(events, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140, color_system=None)
    with display(console) as observe:
        for event in events:
            observe(event)
    return console.file.getvalue()


def test_lines_are_one_an_epoch():
    assert shown(EVENTS, terminal=False).splitlines() == [
        "vanilla, seed 0: started",
        "vanilla, seed 0: epoch 1/3, valid accuracy 0.25, 1 min 0 s left",
        "vanilla, seed 0: epoch 2/3, valid accuracy 0.5, 15 s left",
        "vanilla, seed 0: completed after epoch 3, best valid accuracy 0.75 (epoch 2), test accuracy 0.5",
    ]


def test_bars_show_each_run_and_all_of_them():
    text = shown(EVENTS[:-1], terminal=True)
    assert "vanilla, seed 0" in text
    assert "all runs" in text
    assert "valid accuracy 0.5" in text
    assert "15 s left" in text
    assert "completed after epoch 3" in shown(EVENTS, terminal=True)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Event("skip", RUN, FOLDER, outcome=OUTCOME), "already completed after epoch 3"),
        (Event("failed", RUN, FOLDER, text="ValueError: [no]"), "failed: ValueError: [no]"),
        (Event("stopped", RUN, FOLDER, saved=True), "stopped, saved"),
        (Event("stopped", RUN, FOLDER, text="before its first step"), "stopped before its first step\n"),
        (
            Event("stopped", RUN, FOLDER, text="in epoch 2 after step 6", saved=True),
            "stopped in epoch 2 after step 6, saved",
        ),
    ],
)
def test_every_end_is_told(terminal, event, said):
    before = [] if event.kind == "skip" else EVENTS[:4]
    assert f"vanilla, seed 0: {said}" in shown([*before, event], terminal)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_that_goes_on_says_from_where(terminal):
    resumed = [
        at(2, 1, line(1), resumed_at=5),
        at(2, 2, line(1), resumed_at=5),
        at(2, 4, line(2), resumed_at=5),
    ]
    text = shown([*EVENTS[:2], *resumed, EVENTS[-1]], terminal)
    assert text.count("vanilla, seed 0: goes on in epoch 2/3, after step 5\n") == 1
    assert "epoch 1/3" not in text
    assert "goes on" not in shown(EVENTS, terminal)


def test_time_left_in_words():
    assert [clock(seconds) for seconds in (None, 5, 125, 7500)] == [
        "", "5 s left", "2 min 5 s left", "2 h 5 min left",
    ]  # fmt: skip
