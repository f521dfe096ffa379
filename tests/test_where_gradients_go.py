"""The page "Where do gradients go?" quotes what is stored, and its script runs."""

import csv
import importlib
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "where_gradients_go.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs" / "figures")
        yield importlib.import_module("where_gradients_go")


def stored(name, root=ROOT):
    """The rows of a results file, numbers as numbers."""
    text = (root / "results" / f"{name}.csv").read_text(encoding="utf-8")
    return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(text.splitlines())]


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def one(rows, **where):
    (row,) = (row for row in rows if all(row[key] == value for key, value in where.items()))
    return row


def test_a_script_that_measures_little_gives_the_same_bytes_twice(script, tmp_path):
    made = []
    for place in (tmp_path / "one", tmp_path / "two"):
        script.main(["--small", "--out", str(place)])
        files = [path for path in place.rglob("*") if path.is_file()]
        made.append({path.relative_to(place).as_posix(): path.read_bytes() for path in files})
    assert made[0] == made[1]
    assert set(made[0]) == {
        path
        for name in script.FIGURES
        for path in (f"docs/images/where-gradients-go-{name}.svg", f"results/where-gradients-go/{name}.csv")
    }
    for name in script.FIGURES:
        ours, theirs = (
            stored(f"where-gradients-go/{name}", tmp_path / "one"),
            stored(f"where-gradients-go/{name}"),
        )
        assert ours[0].keys() <= theirs[0].keys()
        assert len(ours) <= len(theirs)


def test_every_figure_has_its_command_and_is_there(script):
    for name in script.FIGURES:
        assert f"images/where-gradients-go-{name}.svg" in PAGE
        assert f"    .venv/bin/python docs/figures/where_gradients_go.py {name}\n" in PAGE
    for image in re.findall(r"\]\((images/.*?)\)", PAGE):
        assert (ROOT / "docs" / image).read_text(encoding="utf-8").endswith("</svg>\n")


def test_quoted_positions():
    rows = stored("where-gradients-go/positions")
    back = [one(rows, loss_at=4, state_at=i)["norm"] for i in (4, 3, 2, 1)]
    assert "{:.1f} at h₄, {:.2f} at h₃, {:.2f} at h₂ and {:.2f} at h₁".format(*back) in WORDS
    near = one(rows, loss_at=2, state_at=1)["norm"]
    assert f"position 2 sends back {near:.2f} and the loss at position 4 only {back[3]:.2f}" in WORDS
    assert 3.5 < near / back[3] < 4.5
    assert all(1.9 < a / b < 2.1 for a, b in pairwise(back))


def test_quoted_eigenvalues():
    rows = stored("where-gradients-go/eigenvalues")
    for matrix, name in (
        ("symmetric", "symmetric"),
        ("random", "random"),
        ("triangular", "triangular, in another basis"),
    ):
        linear, tanh = (
            one(rows, matrix=matrix, activation=each, eigenvalue=0.9) for each in ("linear", "tanh")
        )
        cells = (linear["singular"], linear["first_5_steps"], linear["last_half"], tanh["last_half"])
        assert f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |" in PAGE
    grown = one(rows, matrix="triangular", activation="linear", eigenvalue=0.9)
    assert f"to {grown['lag_30']:.1f} times its size at lag 30" in WORDS
    assert f"is still {grown['lag_80']:.2f} times it at lag 80" in WORDS
    above = {
        each: [row["last_half"] for row in rows if (row["activation"], row["eigenvalue"]) == (each, 1.1)]
        for each in ("linear", "tanh")
    }
    assert min(above["linear"]) > 1
    assert "with tanh all three shrink, by {:.2f}, {:.2f} and {:.2f} per step".format(*above["tanh"]) in WORDS
    for row in rows:
        if row["activation"] == "linear":
            assert row["last_half"] == pytest.approx(row["eigenvalue"], rel=0.01)
        assert row["singular"] >= row["eigenvalue"]


def test_quoted_clipping():
    rows = stored("where-gradients-go/clipping")
    before, turned = (sorted(row[key] for row in rows) for key in ("before", "cosine_value"))
    assert f"{len(rows)} RNNs" in WORDS
    assert f"goes from {before[0]:.0f} to {before[-1]:.1e}" in WORDS
    assert {f"{row['cosine_norm']:.3f}" for row in rows} == {"1.000"}
    assert {row["after_norm"] for row in rows} == {10}
    median = (turned[59] + turned[60]) / 2
    assert f"the cosine has the median {median:.2f} and goes down to {turned[0]:.2f}" in WORDS


def test_quoted_forget_gates():
    rows = stored("where-gradients-go/forget-gate")
    for bias in (-3, -1, 0, 1, 2, 3, 4, 5):
        row = one(rows, bias=bias)
        cells = [f"{bias}".replace("-", "−"), f"{row['f']:.2f}"]
        for key in ("predicted", "half_life_carry", "half_life_whole"):
            value = row[key]
            digits = 0 if value == "" or value >= 100 else 1 if value >= 10 else 2
            cells.append("grows" if value == "" else f"{value:.{digits}f}")
        assert f"| {' | '.join(cells)} |" in PAGE
        assert row["half_life_carry"] == pytest.approx(row["predicted"], rel=0.15)
    assert f"({one(rows, bias=5)['rate_whole']:.3f} per step at a bias of 5)" in WORDS


def test_quoted_lstms():
    rows = stored("where-gradients-go/lstm")
    plain, open_ = (
        [one(rows, layer=each, gain=gain)["rate"] for gain in (1, 16)]
        for each in ("LSTM", "LSTM, forget bias 3")
    )
    assert (
        f"shrinks by {plain[0]:.2f} per step; with W_hh multiplied by 16 it grows by {plain[1]:.2f}." in WORDS
    )
    assert f"lifts the first to {open_[0]:.2f}, and does not save the second, {open_[1]:.2f}." in WORDS


def test_quoted_gradient_flow():
    rows = stored("gradient-flow-rnn-lstm/summary")
    arms = ("rnn", "lstm", "gru")
    reached = [one(rows, arm=arm, quantity="first_h", steps=100)["median"] for arm in arms]
    assert "{:.1e} in the RNN, {:.1e} in the LSTM, {:.1e} in the GRU".format(*reached) in WORDS
    blocked = [one(rows, arm=f"h-detach-{p}", quantity="first_h", steps=100)["median"] for p in (0.25, 0.5)]
    assert "{:.1e} with p = 0.25 and {:.1e} with p = 0.5".format(*blocked) in WORDS
    kept = one(rows, arm="orthogonal", quantity="first_h", steps=100)["median"]
    assert f"orthogonal W_hh with tanh keeps more, {kept:.1e}," in WORDS
    ratios = [row for row in rows if (row["arm"], row["quantity"]) == ("lstm", "ratio")]
    assert {f"{row['median']:.3f}" for row in ratios} == {"0.092"}
    assert "The page's ratio LSTM/RNN is 0.092 at every length" in WORDS
    last = one(ratios, steps=1000)
    assert f"(10 to 90 % of seeds: {last['low']:.3f} to {last['high']:.3f})" in WORDS
    shares = [row for row in rows if (row["arm"], row["quantity"]) == ("orthogonal-linear", "kept")]
    assert {f"{row['median']:.3f}" for row in shares} == {"1.000"}
    for arm in (*arms, "orthogonal"):
        norms = [row["median"] for row in rows if (row["arm"], row["quantity"]) == (arm, "weight_hh")]
        assert max(norms) < 1.02 * min(norms)
    assert {row["seeds"] for row in rows} == {20}


@pytest.mark.parametrize(("title", "quantity"), [("‖∂L/∂h₀‖", "first_h"), ("‖∂L/∂W_hh‖", "weight_hh")])
def test_tables_of_gradient_flow_are_those_that_are_stored(title, quantity):
    rows = stored("gradient-flow-rnn-lstm/summary")
    table = PAGE.split(f"| {title} after | ")[1].split("\n\n")[0]
    head, _, *lines = table.splitlines()
    steps = [int(each) for each in re.findall(r"(\d+) steps", head)]
    told = {arm.strip(): cells for arm, *cells in (line.strip("|").split("|") for line in lines)}
    assert told.keys() == {row["arm"] for row in rows}
    for arm, cells in told.items():
        medians = [one(rows, arm=arm, quantity=quantity, steps=each)["median"] for each in steps]
        assert [cell.strip() for cell in cells] == [f"{each:.2g}" for each in medians]
    assert steps == sorted({row["steps"] for row in rows})


def test_quoted_shortcuts():
    rows = stored("where-gradients-go/shortcuts")

    def at(reader, step):
        return one(rows, reader=reader, step=step)["norm"]

    both = "last states of two directions"
    for words in (
        f"the first input gets {at('last state', 1):.1e}.",
        f"give it {at(both, 1):.1f}, and leave the valley in the middle, {at(both, 50):.1e} at step 50",
        f"{at('maximum over steps', 1):.2f} at step 1.",
        f"brings {at('last state, skip of 10 steps', 1):.0f} to step 1;",
    ):
        assert words in WORDS
