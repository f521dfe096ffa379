"""What the figures show, against brute-force numpy."""

import math
import re

import numpy as np
import pytest

from bptt import report
from bptt.report._curves import figures
from bptt.report._interactive import describe
from bptt.report._look import look
from bptt.report._static import draw

LONG = {n: np.linspace(0.1, 0.8, 10) + n / 100 for n in range(5)}


def drawn(folder):
    (study,) = report.load([folder])
    return {figure.key: figure for figure in figures(study)}


def long(_, seed):
    return LONG[seed]


def test_there_are_three_figures(make_study):
    made = drawn(make_study(train={"clip_norm": 0.5}))
    assert list(made) == ["validation-accuracy", "training-loss", "gradient-norm"]
    assert made["validation-accuracy"].levels == (("chance: 10.0%", 0.1),)
    assert made["training-loss"].levels == (("chance: 2.303", math.log(10)),)
    assert made["gradient-norm"].levels == (("clipped above 0.5", 0.5),)
    assert made["gradient-norm"].log
    assert not made["validation-accuracy"].log
    assert list(drawn(make_study("other", score="loss"))) == [
        "validation-loss",
        "training-loss",
        "gradient-norm",
    ]


def test_median_and_range_over_the_seeds(make_study):
    arm = drawn(make_study(arms={"a": "a"}, seeds=range(5), epochs=10, curve=long))[
        "validation-accuracy"
    ].arms[0]
    table = np.stack(list(LONG.values()))
    np.testing.assert_allclose(arm.median, np.median(table, axis=0))
    np.testing.assert_allclose(arm.low, table.min(axis=0))
    np.testing.assert_allclose(arm.high, table.max(axis=0))
    assert arm.n.tolist() == [5] * 10
    assert arm.x.tolist() == list(range(1, 11))


def test_many_seeds_give_tenths_and_no_thin_lines(make_study):
    values = np.random.default_rng(0).uniform(size=(12, 3))
    figure = drawn(make_study(arms={"a": "a"}, seeds=range(12), curve=lambda _, seed: values[seed]))
    figure = figure["validation-accuracy"]
    np.testing.assert_allclose(figure.arms[0].low, np.quantile(values, 0.1, axis=0))
    np.testing.assert_allclose(figure.arms[0].high, np.quantile(values, 0.9, axis=0))
    assert not figure.thin_lines
    assert figure.spread == "10% to 90% of the seeds"


def test_each_epoch_is_over_the_seeds_that_reached_it(make_study):
    ends = {("a", 1): "failed", ("a", 2): "non-finite", ("a", 3): "missing"}  # 5, 7 and no epochs
    arm = drawn(make_study(arms={"a": "a"}, seeds=range(5), epochs=10, curve=long, ends=ends))
    arm = arm["validation-accuracy"].arms[0]
    assert arm.n.tolist() == [4] * 5 + [3] * 2 + [2] * 3
    assert arm.median[5] == pytest.approx(np.median([LONG[0][5], LONG[2][5], LONG[4][5]]))
    assert arm.median[9] == pytest.approx((LONG[0][9] + LONG[4][9]) / 2)
    assert not arm.carried.any()


def test_a_solved_run_keeps_its_score_but_has_no_later_gradients(make_study):
    def curve(_, seed):
        return np.array([0.5, 0.95]) if seed == 0 else np.full(4, 0.3 + seed / 100)

    made = drawn(make_study(arms={"a": "a"}, epochs=4, curve=curve, ends={("a", 0): "solved"}))
    score, norm = made["validation-accuracy"].arms[0], made["gradient-norm"].arms[0]
    assert score.high.tolist() == [0.5, 0.95, 0.95, 0.95]
    assert (score.n.tolist(), score.carried.tolist()) == ([3] * 4, [0, 0, 1, 1])
    assert (norm.n.tolist(), norm.carried.tolist()) == ([3, 3, 2, 2], [0] * 4)


def test_values_that_are_not_finite_are_not_drawn(make_study):
    values = np.array([[0.5, np.nan, 0.7], [0.4, 0.6, 0.8]])
    figure = drawn(make_study(arms={"a": "a"}, seeds=range(2), epochs=3, curve=lambda _, seed: values[seed]))
    arm = figure["validation-accuracy"].arms[0]
    assert (arm.n.tolist(), arm.median[1]) == ([2, 1, 2], 0.6)
    seed = describe(figure["validation-accuracy"])["data"][1]
    assert (seed["meta"]["role"], seed["y"]) == ("seed", [0.5, None, 0.7])


@pytest.mark.parametrize(("last", "starts"), [(0, ()), (2, (5,)), (6, ())])
def test_the_start_of_annealing_is_marked(make_study, last, starts):
    assert drawn(make_study(train={"anneal_epochs": last}))["training-loss"].anneal_starts == starts


@pytest.mark.parametrize("epochs", [1, 3])
def test_annealing_that_no_run_has_come_to_is_not_marked(make_study, epochs):
    settings = {"epochs": 600, "anneal_epochs": 39}
    for figure in drawn(make_study(train=settings, epochs=epochs)).values():
        assert figure.anneal_starts == ()
        draw(figure)  # a mark far beside the axes would leave them no room, which is a warning: an error here


@pytest.mark.parametrize(("seeds", "score"), [(1, "accuracy"), (3, "accuracy"), (12, "loss")])
def test_a_single_epoch_is_marks_at_a_whole_number(make_study, seeds, score):
    for figure in drawn(make_study(seeds=range(seeds), epochs=1, score=score)).values():
        assert (figure.last, figure.thin_lines) == (1, True)
        traces = describe(figure)["data"]
        roles = [trace["meta"]["role"] for trace in traces if "markers" in trace["mode"]]
        assert roles == ([*["seed"] * seeds, "median"] if seeds > 1 else ["median"]) * 2
        svg = draw(figure)["svg"].decode()
        (axis,) = re.findall('id="matplotlib.axis_1".*?id="matplotlib.axis_2"', svg, re.DOTALL)
        assert re.findall(r"<text[^>]*>([^<]*)</text>", axis) == ["1", "epoch"]


def test_nothing_is_annealed_without_blocking(make_study):
    folder = make_study(arms={"a": "a"}, train={"anneal_epochs": 2})
    assert drawn(folder)["training-loss"].anneal_starts == ()


def test_a_study_without_an_epoch_has_no_figure(make_study):
    assert not drawn(make_study(seeds=[0], ends={("vanilla", 0): "missing", ("h-detach-0.25", 0): "missing"}))


def test_the_page_is_told_what_the_figure_holds(make_study):
    figure = drawn(make_study(arms={"a": "a", "b": "<b>%{x}"}, epochs=3, ends={("b", 2): "non-finite"}))
    plot = describe(figure["validation-accuracy"])
    roles = [(trace["meta"]["arm"], trace["meta"]["role"]) for trace in plot["data"]]
    one = ["spread", "seed", "seed", "seed"]
    assert roles == [(0, role) for role in [*one, "median"]] + [(1, role) for role in [*one, "end", "median"]]
    median = plot["data"][-1]
    assert median["y"] == pytest.approx(figure["validation-accuracy"].arms[1].median)
    assert [row[2] for row in median["customdata"]] == ["3 of 3 seeds", "3 of 3 seeds", "2 of 3 seeds"]
    assert median["name"] == "&lt;b&gt;%&#123;x}"
    assert median["name"] in median["hovertemplate"]


def test_arms_differ_without_their_colours():
    looks = [look(index) for index in range(20)]
    assert len({(each.dash, each.marker) for each in looks}) == 20
    assert len({each.light for each in looks[:7]}) == len({each.dark for each in looks[:7]}) == 7
