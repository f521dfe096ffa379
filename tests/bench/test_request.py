"""Every option of a request is obeyed, and what does not fit is told, all of it."""

import pytest

from bptt.bench import Request, Shape, parse_shapes

TINY = "12,3,2,5"


def rows(**options):
    return Request(**{"shapes": TINY, "threads": (1,), **options}).rows()


def test_the_papers_shapes_are_those_of_the_table():
    cases = {(case.cell, str(case.shape)) for case, _ in rows(shapes="paper")}
    assert len(cases) == 11
    assert ("lstm", "784,100,1,100") in cases
    assert {cell for cell, _ in cases} == {"lstm", "gru", "rnn"}
    assert {(case.p, rival) for case, rival in rows(shapes="paper") if case.cell == "gru"} == {
        (p, rival) for p in (0, 0.5) for rival in ("torch", "torch-no-onednn", "reference")
    }


def test_the_grid():
    grid = rows(shapes="grid")
    assert len(grid) == 7 * 5 * 2 * 2
    assert {case.cell for case, _ in grid} == {"lstm", "gru"}
    assert {rival for _, rival in grid} == {"torch"}
    assert {case.shape.I for case, _ in grid if case.shape.H == 64} == {1, 64}


def test_shapes_of_ones_own():
    assert parse_shapes("1,2,3,4; 5,6,7,8") == (Shape(1, 2, 3, 4), Shape(5, 6, 7, 8))
    assert [str(case.shape) for case, _ in rows(shapes="3,2,1,4;12,3,2,5")] == ["3,2,1,4", "12,3,2,5"]


@pytest.mark.parametrize(
    ("options", "attribute", "values"),
    [
        ({"p": (0.0, 0.25)}, "p", [0.0, 0.25]),
        ({"cells": ("gru", "rnn")}, "cell", ["gru", "rnn"]),
        ({"memory": ("fast", "low")}, "memory", ["fast", "low"]),
        ({"mode": "forward"}, "mode", ["forward"]),
        ({"layers": 2}, "layers", [2]),
        ({"bidirectional": True}, "bidirectional", [True]),
        ({"packed": True}, "packed", [True]),
        ({"threads": (1,)}, "threads", [1]),
    ],
)
def test_options_reach_the_rows(options, attribute, values):
    assert [getattr(case, attribute) for case, _ in rows(**options)] == values


def test_the_usual_rivals():
    assert [rival for _, rival in rows()] == ["torch"]
    assert [rival for _, rival in rows(memory=("low",))] == ["memory-fast"]
    assert [rival for _, rival in rows(shapes="30,2,1,4", mode="step")] == ["loop"]


def test_watched_steps_beside_plain_ones():
    watched = ["watched", "watched-100", "watched-idle", "watched-torch", "watched-paths"]
    assert [(str(case), rival) for case, rival in rows(shapes="paper", mode="step", flow=True)] == [
        ("lstm 120,100,1,128, p 0, 1 thread, step", rival) for rival in watched
    ]
    assert [rival for _, rival in rows(shapes="30,2,1,4", mode="step", flow=True, p=(0.5,))] == [
        *watched[:3],
        watched[4],
    ]
    with pytest.raises(ValueError, match='mode must be "step" with flow, got "train"'):
        rows(flow=True)
    with pytest.raises(ValueError, match="the rival watched is a whole step of training"):
        rows(rivals=("watched",))


def test_a_step_is_the_papers():
    assert {case.p for case, _ in rows(shapes="paper", mode="step")} == {0.5}
    assert [str(case.shape) for case, _ in rows(shapes="paper", mode="step")] == [
        "120,100,1,128",
        "320,100,1,128",
        "784,100,1,100",
    ]


def test_a_compiled_loop_is_short_and_each_comes_once():
    compiled = rows(shapes="120,100,1,128;320,100,1,128;8,1,1,4", rivals=("compiled",), p=(0.0, 0.5))
    assert [str(case.shape) for case, _ in compiled] == ["16,100,1,128", "8,1,1,4"]


def test_a_row_that_a_rival_cannot_run_is_left_out_unless_it_is_the_last():
    assert [case.cell for case, _ in rows(cells=("gru", "lstm"), rivals=("loop",))] == ["lstm"]
    with pytest.raises(ValueError, match="the rival loop is one LSTM layer"):
        rows(cells=("gru",), rivals=("loop",))
    with pytest.raises(ValueError, match='memory-fast is for memory "low"'):
        rows(rivals=("memory-fast",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shapes": "1,2,3"}, "shapes must be paper, grid, or four whole numbers"),
        ({"shapes": "1,2,3,0"}, "shapes must be"),
        ({"shapes": ""}, "shapes must be"),
        ({"p": (1.5,)}, "p must be from 0 to 1, got 1.5"),
        ({"p": (float("nan"),)}, "p must be from 0 to 1, got nan"),
        ({"threads": (0,)}, "threads must be from 1 to"),
        ({"threads": (10_000,)}, "threads must be from 1 to"),
        ({"cells": ("ltsm",)}, "cells must be among lstm, gru, rnn, got 'ltsm'"),
        ({"memory": ("slow",)}, "memory must be among fast, low, got 'slow'"),
        ({"rivals": ("haste",)}, "rivals must be among torch, .*, got 'haste'"),
        ({"pairs": 0}, "pairs must be from 1"),
        ({"layers": 0}, "layers must be from 1"),
        ({"rivals": ()}, "rivals must name at least one, got none"),
        ({"mode": "forward", "p": (0.5,)}, "p must be 0 in a forward pass"),
        ({"mode": "step", "shapes": TINY}, "the shapes of a step must have I = 1 and T ≥ 21"),
        ({"mode": "step", "shapes": "30,2,1,4", "cells": ("gru",)}, "a step is that of the papers"),
    ],
)
def test_what_does_not_fit_is_told(options, message):
    with pytest.raises(ValueError, match=message):
        rows(**options)


def test_all_problems_come_at_once():
    with pytest.raises(ValueError, match=r"(?s)cells .*p must be .*pairs"):
        rows(cells=("x",), p=(2.0,), pairs=0)
