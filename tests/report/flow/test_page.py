"""The page of gradient flow as a file: complete, self-contained, safe to open, and the same every time."""

import html
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import flows
from helpers.markup import Page

from bptt.report import _html

NASTY = "</script><script>alert(1)</script> {{ 7*7 }} %{x}"
KEY = flows.KEY
LAG = "Gradient against lag: LSTM core, layer 1"


def read(path):
    """The page without plotly.js."""
    return path.read_text(encoding="utf-8").replace(_html.plotly_script(), "")


def parsed(path):
    return Page(read(path))


def headings(path):
    return re.findall(r"<h2>(.*?)</h2>", read(path))


def plots(path):
    """The title of every figure that plotly draws, with what it is told."""
    figure = r'<figure[^>]*>\s*<h3>(.*?)</h3>.*?<script type="application/json">(.*?)</script>'
    return [
        (html.unescape(title), json.loads(plot)) for title, plot in re.findall(figure, read(path), re.DOTALL)
    ]


@pytest.fixture(scope="module")
def page(everything):
    return parsed(everything)


def test_it_opens_with_the_verdict(page):
    words = [
        "halves every 6.58 steps",
        "The verdict, layer by layer",
        "The gradient changes",
        "What may help",
    ]
    words += [
        "forget bias (3.2)",
        "since it keeps too little",
        "How far back",
        "How it was measured",
        "page.npz",
    ]
    places = [page.text.index(word) for word in words]
    assert places == sorted(places)


def test_every_figure_has_words_and_values_for_it(page, everything):
    figures = [attrs for tag, attrs in page.tags if tag == "figure"]
    pictures = [attrs for _, attrs in page.tags if attrs.get("role") == "img"]
    assert len(figures) == len(pictures) + 1  # what each output depends on is a group of buttons
    assert all(re.search(r"\d", str(attrs["aria-label"])) for attrs in pictures)
    assert page.text.count("Values as a table") == len(figures)
    assert len([tag for tag, _ in page.tags if tag == "figcaption"]) == len(figures)
    for _, plot in plots(everything):
        assert plot["layout"]["xaxis"]["title"]["text"]
        assert plot["layout"]["yaxis"]["title"]["text"] or plot["layout"]["yaxis"]["type"] == "category"


def test_the_page_asks_for_nothing_else(everything, page):
    policy = [attrs["content"] for _, attrs in page.tags if "http-equiv" in attrs]
    assert policy[0].startswith("default-src 'none'")
    assert not any({"src", "srcset", "action"} & attrs.keys() for _, attrs in page.tags)
    assert not re.search(r"@import|https?://(?!www\.w3\.org)", read(everything))
    assert re.findall(r"url\((.*?)\)", read(everything)) == ["#head"]


def test_the_arrays_lie_beside_it_with_what_each_holds(write, tmp_path):
    content = flows.arrays() | {"later/thing": np.ones(3)}
    out = write((flows.document(), content))
    assert out.with_suffix(".npz").read_bytes() == (tmp_path / "measured-0/flow.npz").read_bytes()
    text = parsed(out).text
    assert "later/thing 3 float64 not known to this page, and not drawn" in text
    assert all(name in text for name in content)


def test_the_same_measurements_give_the_same_bytes(write):
    given = [(flows.document(), flows.arrays()), (flows.document(name="other"), flows.arrays(rate=0.98))]
    one, two = write(*given, out="one/page.html"), write(*given, out="two/page.html")
    assert one.read_bytes() == two.read_bytes()
    assert sorted(each.name for each in one.parent.iterdir()) == [
        "page-other.npz",
        "page-vanilla--seed-0.npz",
        "page.html",
    ]


def test_nothing_from_a_file_becomes_markup(write):
    text = (NASTY + "x" * flows.T)[: flows.T]
    document = flows.document(
        name=NASTY,
        sentence=NASTY,
        layers=[
            flows.layer(
                label=NASTY, sentence=NASTY, remedies=[{"name": NASTY, "reason": NASTY, "value": None}]
            )
        ],
        frame=[[NASTY, NASTY]],
        input={"kind": "text", "text": text, "shape": None},
        nonfinite={"sentence": NASTY},
    )
    out = write((document, flows.arrays()), (document | {"name": "other"}, flows.arrays()))
    assert "<script>alert" not in read(out)
    assert parsed(out).text.count(NASTY) > 10
    assert not any("<" in script for script in parsed(out).scripts if script.startswith('{"'))
    assert len(re.findall("<script", read(out))) == 3 + len(plots(out)) + 2  # the page's, plotly's, reach's


def test_the_fitted_line_and_the_noise_floor_are_those_of_the_verdict(everything):
    drawn = dict(plots(everything))[LAG]
    fit = next(trace for trace in drawn["data"] if trace.get("name", "").startswith("fit"))
    assert fit["name"] == "fit: half-life 6.579 (5.921–7.237) steps"
    assert (fit["x"][0], fit["x"][-1]) == (1, flows.K - 1)
    np.testing.assert_allclose(fit["y"], 0.9 ** np.arange(1, flows.K), rtol=1e-4)
    floor, wanted = drawn["layout"]["shapes"]
    assert floor["y0"] == pytest.approx(1e-6 * np.hypot(1, 2))
    assert wanted["x0"] == 50


@pytest.mark.parametrize(("lag", "side"), [(1, "left"), (flows.K - 1, "right")])
def test_the_wanted_lag_is_named_on_the_side_where_there_is_room(write, lag, side):
    path = write((flows.document(wanted_lag=lag), flows.arrays()))
    notes = dict(plots(path))[LAG]["layout"]["annotations"]
    (note,) = (each for each in notes if each["text"] == "wanted lag")
    assert (note["x"], note["xanchor"]) == (lag, side)


def test_where_the_loss_reads_a_layer_late_all_lags_move(write):
    late = flows.layer(start=7, fit=[8, 30, -1.0])
    content = flows.arrays()
    for part in "hc":
        content[f"lag/{KEY}/{part}"][:7] = 0
    drawn = dict(plots(write((flows.document(layers=[late], wanted_lag=20), content))))[LAG]
    floor, wanted = drawn["layout"]["shapes"]
    assert wanted["x0"] == 27
    ends = [content[f"lag/{KEY}/{part}"][7] for part in "hc"]
    assert floor["y0"] == pytest.approx(1e-6 * np.hypot(*ends))


def test_many_layers_have_smaller_maps(write):
    def cells(count):
        keys = [f"core:{number}:0" for number in range(count)]
        content = {f"unit/{key}": np.ones((400, 300)) for key in keys}
        lags = ("h", "h_low", "h_high", "c", "c_low", "c_high")
        content |= {f"lag/{key}/{part}": 0.9 ** np.arange(9.0) for key in keys for part in lags}
        layers = [flows.layer(key, label=f"layer {key}", fit=[1, 8, -0.1]) for key in keys]
        page = write((flows.document(layers=layers, wanted_lag=5), content), out=f"{count}.html")
        return [np.shape(plot["data"][0]["z"]) for title, plot in plots(page) if "units" in title]

    assert set(cells(2)) == {(160, 160)}
    assert set(cells(16)) == {(80, 80)}


def test_a_gradient_that_grows_has_no_half_life(write):
    out = write((flows.document(layers=[flows.layer(rate=1.05)]), flows.arrays(rate=1.05)))
    drawn = dict(plots(out))[LAG]
    assert "fit: doubles every 14.21 steps" in {trace.get("name") for trace in drawn["data"]}


def test_bands_reach_the_edge_where_they_are_zero(write):
    content = flows.arrays()
    content[f"lag/{KEY}/h_low"][5] = 0
    drawn = dict(plots(write((flows.document(), content))))[LAG]
    band = next(trace for trace in drawn["data"] if trace["meta"] == {"arm": 0, "role": "spread"})
    bottom = drawn["layout"]["yaxis"]["range"][0]
    assert min(band["y"]) == pytest.approx(10**bottom)


def test_nothing_is_left_out_silently(write):
    T, H = 5000, 400
    k = np.arange(T)
    content = {f"lag/{KEY}/h": 0.999**k, f"lag/{KEY}/h_low": 0.998**k, f"lag/{KEY}/h_high": 0.9995**k}
    units = np.full((T, H), 0.5)
    units[1234, 77], units[3000, 300], units[:40, :6] = np.nan, np.inf, 0
    content[f"unit/{KEY}"] = units
    content |= flows.reach_arrays(0.999, T) | {"reach/at": np.arange(4800, 5000)}
    content["reach/norms"] = np.ones((200, T))
    document = flows.document(input={"kind": "values", "text": None, "shape": None})
    out = write((document, content))
    page = parsed(out)
    assert "1000 evenly spaced points of 5000 are drawn." in page.text
    assert "Each cell is the largest of up to 3 × 32 values (NaN before Inf)" in page.text
    assert "240 values are exactly 0, 1 value is Inf, 1 value is NaN." in page.text
    assert (
        "The last 3000 of 5000 steps are shown. 66 of the 200 output steps measured can be chosen."
        in page.text
    )
    (grid,) = dict(plots(out))["Gradient over time and units, c: LSTM core, layer 1"]["data"]
    cells = np.array(grid["z"], dtype=object)
    assert cells.shape == (160, 160)
    assert [(cells == word).sum() for word in ("Inf", "NaN", "0")] == [1, 1, 2]
    assert out.stat().st_size < 8e6


def test_a_model_without_recurrent_layers_is_about_its_input(write):
    content = {name: each for name, each in flows.arrays().items() if name.startswith(("lag", "time"))}
    content = {name.replace(KEY, "model"): each for name, each in content.items() if "/h" in name}
    out = write((flows.document(layers=[flows.layer("model", "input", "the model")]), content))
    drawn = dict(plots(out))
    assert list(drawn) == [
        "Gradient against lag: the model",
        "Gradient over time and layers, with respect to x",
    ]
    assert "with respect to x" in {
        trace.get("name") for trace in drawn["Gradient against lag: the model"]["data"]
    }
    assert "Gates" not in headings(out)


def test_run_against_run(write):
    one = flows.document(frame=[["batch", "5 sequences"], ["detach", "none"]])
    two = flows.document(name="h-detach 0.25", frame=[["batch", "5 sequences"], ["detach", "h 0.25"]])
    out = write((one, flows.arrays()), (two, flows.arrays(rate=0.98)))
    assert headings(out)[0] == "Run against run"
    assert "detach none h 0.25 Where" in parsed(out).text  # and not the batch, which is the same
    together = dict(plots(out)[:4])
    assert [title.partition(": ")[0] for title in together] == [
        "Gradient with respect to h against lag",
        "Gradient with respect to c against lag",
        "Half-life during training",
        "Lyapunov exponents",
    ]
    for plot in together.values():
        assert [trace["name"] for trace in plot["data"]] == ["vanilla, seed 0", "h-detach 0.25"]
    exponents = together["Lyapunov exponents: LSTM core, layer 1"]["data"]
    assert [trace["y"][0] for trace in exponents] == pytest.approx(np.log([0.9, 0.98]), rel=1e-4)


MAP = "Gradient over time and training, %s: LSTM core, layer 1"


def captions(path):
    figure = r"<h3>(.*?)</h3>.*?<figcaption>(.*?)</figcaption>"
    return {html.unescape(title): text for title, text in re.findall(figure, read(path), re.DOTALL)}


def test_maps_have_the_training_steps_at_which_they_were_measured_and_no_others(write):
    content = flows.arrays()
    content[f"training/{KEY}/carry"][1, 3] = np.nan  # one that was measured
    out = write((flows.document(), content))
    drawn, told = dict(plots(out)), captions(out)
    assert drawn[MAP % "with respect to h"]["data"][0]["x"] == flows.LOOKS.tolist()
    assert "training steps looked at" not in told[MAP % "with respect to h"]
    for path in ("along the carry", "through the gates"):
        (grid,) = drawn[MAP % path]["data"]
        assert grid["x"] == flows.LOOKS[::2].tolist()
        assert np.shape(grid["z"]) == (flows.T // 2, flows.N // 2)
        assert (
            "Of 12 training steps looked at, the 6 are drawn that have this at the same time steps."
            in told[MAP % path]
        )
    assert told[MAP % "along the carry"].endswith("1 value is NaN.")
    assert "NaN" not in told[MAP % "through the gates"]


def test_norms_of_gradients_that_were_not_told_are_not_drawn(write):
    content = flows.arrays() | {"training/clip_steps": flows.LOOKS[3:5]}
    content |= {f"training/{end}": np.array([3.0, np.nan]) for end in ("before", "after")}
    out = write((flows.document(), content))
    before, *_ = dict(plots(out))["Gradient norm before and after clipping"]["data"]
    assert before["x"] == flows.LOOKS[3:5].tolist()
    told = captions(out)["Gradient norm before and after clipping"]
    assert "the 2 are drawn that have this at the same time steps. 2 values are NaN." in told


WHY = "the gradient does not fall towards earlier steps, or there is none to follow."


def test_where_there_is_no_half_life_there_is_a_gap_that_is_explained(write):
    content = flows.arrays()
    half = content[f"training/{KEY}/half_life"]
    half[[2, 5, 7]] = np.nan
    out = write((flows.document(), content), (flows.document(name="other"), flows.arrays()))
    together, one = (
        [plot for title, plot in plots(out) if title.startswith("Half-life during training")][n]
        for n in (0, 1)
    )
    for plot, lines in ((together, 2), (one, 1)):
        assert len(plot["data"]) == lines  # no marks of NaN
        assert plot["data"][0]["y"] == [None if np.isnan(each) else each for each in half]
        assert plot["data"][0]["marker"]["maxdisplayed"] == 0  # the value between two gaps is seen
    text = parsed(out).text
    assert text.count(f"Of 24 places, 3 are gaps: {WHY}") == 1
    assert text.count(f"Of 12 places, 3 are gaps: {WHY}") == 1
    assert "training step half-life 0 5 20 6 40 none" in text
    assert "NaN" not in text.partition("During training")[2].partition("How it was measured")[0]


def test_a_half_life_at_no_step_is_said_in_the_figure(write):
    content = flows.arrays()
    content[f"training/{KEY}/half_life"][:] = np.nan
    drawn = dict(plots(write((flows.document(), content))))["Half-life during training: LSTM core, layer 1"]
    assert "none at any step" in [each["text"] for each in drawn["layout"]["annotations"]]


def test_a_layer_with_fewer_steps_than_another_has_no_values_beyond_its_own(write):
    content = flows.arrays() | flows.layer_arrays("core:1:0")
    content |= {name: content[name][:20] for name in ("time/core:1:0/h", "time/core:1:0/c")}
    out = write((flows.document(layers=[flows.layer(), flows.layer("core:1:0", label="short")]), content))
    title = "Gradient over time and layers, with respect to h"
    (grid,) = dict(plots(out))[title]["data"]
    assert [each is None for each in grid["z"][1]] == [False] * 20 + [True] * 40
    assert None not in grid["z"][0]
    assert "NaN" not in captions(out)[title]


def test_the_cost_is_no_difference_and_settings_are_folded(write):
    def frame(cost, epochs):
        return [["batch", "5"], ["train.epochs", epochs], ["cost", cost], ["not judged: a.b", "frozen"]]

    one = flows.document(frame=frame("3 s", "600"))
    out = write((one, flows.arrays()), (flows.document(name="b", frame=frame("4 s", "30")), flows.arrays()))
    rows = re.search(r'aria-label="What differs.*?</table>', read(out), re.DOTALL).group()
    assert re.findall(r'<th scope="row">(.*?)</th>', rows) == ["train.epochs"]
    alone = read(write((one, flows.arrays()), out="alone.html"))
    frames = re.search(r"<h2>How it was measured</h2>(.*?)<details>(.*?)</details>", alone, re.DOTALL)
    for name, folded in (("batch", 0), ("cost", 0), ("not judged: a.b", 0), ("train.epochs", 1)):
        assert [name in part for part in frames.groups()] == [not folded, bool(folded)]


def test_steps_are_never_rounded(write):
    content = flows.arrays() | {"reach/input": 1_000_000 + np.arange(flows.T)}
    content |= {
        name: 1_234_567 + content[name] // 20
        for name in content
        if name.startswith("training/") and name.endswith("steps")
    }
    chrono = {"name": "chrono", "action": "draw the biases", "reason": "it forgets", "value": 2_345_678.0}
    document = flows.document(
        layers=[flows.layer(reach=7_654_321, remedies=[chrono])],
        input={"kind": "tokens", "text": None, "shape": None},
    )
    out = write((document, content))
    text = parsed(out).text
    assert text.count("time step t \\ training step 1234567 ") == 4  # maps of training, a column a step
    assert "training step half-life 1234567 5 1234568 6" in text
    assert "7654321" in text
    assert "chrono (2345678): draw" in text
    assert "5 at 1234567, 16 at 1234578" in read(out)  # the description of the line
    assert '"cells": ["1000000", "1000001"' in read(out)
    assert "e+06" not in read(out)


def test_measurements_of_one_name_are_numbered(write):
    out = write((flows.document(), flows.arrays()), (flows.document(), flows.arrays(rate=0.98)))
    assert [trace["name"] for trace in plots(out)[0][1]["data"]] == [
        "vanilla, seed 0 (1)",
        "vanilla, seed 0 (2)",
    ]
    assert "The frames of the measurements do not differ." in parsed(out).text


def test_the_page_needs_no_torch(tmp_path):
    folder = flows.measurement(tmp_path / "measured", flows.document(), flows.arrays())
    code = f"""if True:
        import sys
        import bptt.report
        assert not {{"torch", "plotly", "jinja2"}} & sys.modules.keys()
        sys.modules["torch"] = None  # from here on an import of torch fails
        from pathlib import Path
        bptt.report.write_flow([Path({str(folder)!r})], Path({str(tmp_path / "page.html")!r}))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
