"""Gradients over training: what a study's page shows of flow.jsonl, against brute force and damage."""

import csv
import hashlib
import json
import math
from statistics import median

import numpy as np
import pytest
from helpers.markup import Page
from helpers.studies import write_done, write_lines

from bptt import report

T = tuple(range(1, 40, 2))  # 20 time steps, of which 2 are early
NAMES = ("half-life", "carry-share")
A = {"a": "arm a"}


def look(step, *, half_life=10.0, carry=1.0, gates=1.0, key="core:0:0", t=T, **more):
    """A line of flow.jsonl with one layer; numbers stand for all time steps."""
    layer = {"t": list(t), "h": [1.0] * len(t), "c": [1.0] * len(t), "half_life": half_life}
    parts = {"carry": carry, "gates": gates}
    layer |= {
        path: [part] * len(t) if isinstance(part, float) else part for path, part in parts.items() if part
    }
    return {"step": step, "before": 1.0, "after": None, "layers": {key: layer | more}}


def watch(folder, run, rows):
    """Give a run of a study a flow.jsonl, as if it had been watched."""
    write_lines(folder / run / "flow.jsonl", rows)
    seal(folder / run / "flow.jsonl")


def seal(path):
    """Have the done.json of a run that has ended tell of its flow.jsonl."""
    done = path.with_name("done.json")
    if done.exists():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        write_done(path.parent, json.loads(done.read_text()) | {"flow_sha256": digest})


def written(folder):
    """The names of the figures of gradients, the page, its figures of gradients and gradients.csv."""
    paths = report.write([folder])
    names = [path.stem for path in paths.figures if path.suffix == ".svg" and path.stem.startswith(NAMES)]
    page = Page(paths.index.read_text(encoding="utf-8"))
    plots = [json.loads(script) for script in page.scripts if script.startswith('{"data"')]
    table = paths.index.parent / "gradients.csv"
    rows = list(csv.DictReader(table.read_text().splitlines())) if table.exists() else []
    return names, page, dict(zip(names, plots[len(plots) - len(names) :], strict=True)), rows


def traces(plot, role, arm=0):
    return [each for each in plot["data"] if each["meta"] == {"arm": arm, "role": role}]


def test_what_was_not_watched_has_nothing_of_it(make_study):
    names, page, _, rows = written(make_study(arms=A, seeds=[0], epochs=1))
    assert (names, rows) == ([], [])
    assert "Gradients through time" not in page.text
    assert "gradients.csv" not in page.text


def test_the_median_over_seeds_counts_what_does_not_fall_as_longest(make_study):
    folder = make_study(arms=A, epochs=2)
    lives = {0: [10.0, 10.0, None], 1: [40.0, None, None], 2: [None, None, 5.0]}
    for seed, each in lives.items():
        rows = [look(step, half_life=life) for step, life in zip((100, 200, 300), each, strict=True)]
        watch(folder, f"a/seed-{seed}", rows)
    _, page, plots, rows = written(folder)
    (line,), (band,) = (traces(plots["half-life"], role) for role in ("median", "spread"))
    assert line["x"] == [100, 200, 300]
    assert [row[3] for row in line["customdata"]] == ["40", "does not fall", "does not fall"]
    assert [row[:2] for row in line["customdata"]] == [
        ["10", "does not fall"],
        ["10", "does not fall"],
        ["5", "does not fall"],
    ]
    ceiling = line["y"][1]
    assert line["y"] == [40, ceiling, ceiling]
    assert ceiling > 40
    assert band["y"] == [ceiling] * 3 + [5, 10, 10]
    assert plots["half-life"]["layout"]["annotations"][0]["text"] == "does not fall"
    assert "it counts as longer than any number" in page.text
    assert "200 does not fall 10–does not fall, 3 seeds" in page.text
    found = {(row["seed"], row["step"]): row["value"] for row in rows if row["quantity"] == "half_life"}
    assert found["0", "100"] == "10.0"
    assert found["2", "100"] == "inf"


def test_many_seeds_have_a_band_of_tenths_with_what_does_not_fall(make_study):
    folder = make_study(arms=A, seeds=range(12), epochs=1)
    for seed in range(12):
        watch(folder, f"a/seed-{seed}", [look(1, half_life=None if seed > 9 else seed + 1.0)])
    (line,) = traces(written(folder)[2]["half-life"], "median")
    assert line["customdata"] == [["2.1", "does not fall", "12 of 12 seeds", "6.5"]]


@pytest.mark.parametrize(("key", "early"), [("core:0:0", slice(0, 2)), ("core:0:1", slice(-2, None))])
def test_the_share_is_that_of_the_steps_that_the_layer_runs_through_first(make_study, key, early):
    folder = make_study(arms={"a": "a", "b": "b"}, epochs=2)
    noise, shares = np.random.default_rng(0), {}
    for arm in "ab":
        for seed in range(3):
            carry, gates = noise.uniform(1e-9, 1e-6, (2, len(T)))
            rows = [
                look(2, carry=None, gates=None, key=key),
                look(4, carry=carry.tolist(), gates=gates.tolist(), key=key),
            ]
            watch(folder, f"{arm}/seed-{seed}", rows)
            parts = [median(each[early]) for each in (carry, gates)]
            shares[arm, seed] = parts[0] / sum(parts)
    _, page, plots, rows = written(folder)
    for index, arm in enumerate("ab"):
        (line,), (band,) = (traces(plots["carry-share"], role, index) for role in ("median", "spread"))
        own = [shares[arm, seed] for seed in range(3)]
        assert (line["x"], line["y"]) == ([4], [pytest.approx(median(own))])
        assert band["y"] == pytest.approx([max(own), min(own)])
    found = {(r["arm"], int(r["seed"])): float(r["value"]) for r in rows if r["quantity"] == "carry_share"}
    assert found == pytest.approx(shares)
    where = (
        "t = 1 to 3, where the sequence ends at t = 39" if key == "core:0:0" else "t = 37 to 39, where the"
    )
    assert where in page.text
    assert "Split with all paths open" in page.text


def test_every_layer_and_direction_has_figures_of_its_own(make_study):
    folder = make_study(arms={"a": "a", "b": "b"}, seeds=[0], epochs=1)
    keys = ("<b>:0:0", "<b>:0:1", "b/:1:0", "$x")
    layers = {key: layer for key in keys for layer in look(1, key=key)["layers"].values()}
    watch(folder, "a/seed-0", [look(1) | {"layers": layers}])
    watch(folder, "b/seed-0", [look(1, key="b/:1:0", carry=None)])
    names, page, plots, _ = written(folder)
    assert len(names) == len(set(names)) == 8
    headings = ("<b>, layer 0", "<b>, layer 0 in reverse", "b/, layer 1", "$x")
    assert all(f"back in time: {each}" in page.text for each in headings)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert page.text.count("Split with all paths open") == 1  # the others are as above
    arms = [{trace["meta"]["arm"] for trace in plots[name]["data"]} for name in names[:4]]
    assert arms == [{0}, {0}, {0, 1}, {0}]


def test_runs_may_end_anywhere_and_hold_anything(make_study):
    ends = {("a", 1): "unfinished", ("a", 2): "non-finite", ("a", 3): "solved", ("a", 4): "missing"}
    folder = make_study(arms=A, seeds=range(6), epochs=4, ends=ends)
    holes = [math.nan, None, "inf", 1.0, *[2.0] * 16]
    odd = [
        look(1, half_life="inf", carry=holes, gates=holes),
        look(2, half_life=None, h=holes, c=holes, carry=0.0, gates=0.0),
        look(3, half_life=None, c=[0.0] * 20, carry=["inf"] * 20),
        {"step": 4, "before": None, "after": None, "layers": {}},
        look(5, half_life="nan", t=[7], h=[1.0], c=["nan"], carry=[3.0], gates=[1.0]),
    ]
    watch(folder, "a/seed-0", odd)
    watch(folder, "a/seed-1", [look(1), look(2)])
    with (folder / "a/seed-1/flow.jsonl").open("a") as file:
        file.write('{"step": 3, "lay')  # still being written
    watch(folder, "a/seed-2", [look(1, half_life=1e308, carry=1e308, gates=1e308)])
    watch(folder, "a/seed-3", [])
    names, page, plots, rows = written(folder)  # seed 5 was not watched
    assert names == list(NAMES)
    (life,), (share,) = (traces(plots[name], "median") for name in NAMES)
    assert (life["x"], [row[3] for row in life["customdata"]]) == (
        [1, 2, 3, 5],
        ["does not fall", "does not fall", "—", "—"],
    )
    assert [row[2] for row in life["customdata"]] == [f"{n} of 6 seeds" for n in (3, 2, 0, 0)]
    assert [row[2] for row in share["customdata"]] == [f"{n} of 6 seeds" for n in (1, 1, 0, 1)]
    assert share["y"] == [0.5, 0.5, None, 0.75]
    assert "Not in these figures" not in page.text
    assert {row["value"] for row in rows if row["step"] == "3"} == {"nan", "inf", "1.0"}


GOOD = [look(step) for step in (1, 2, 3)]
DAMAGES = {
    "no JSON": ("?", "flow.jsonl, line 2 is not JSON"),
    "no object": ("[]", "line 2 must hold a JSON object, got list"),
    "no step": ('{"layers": {}}', "line 2 lacks the field 'step'"),
    "no layers": ('{"step": 2}', "line 2 lacks the field 'layers'"),
    "odd layer": ('{"step": 2, "layers": {"core:0:0": 3}}', "line 2: core:0:0 must be an object"),
    "again": (json.dumps(look(1)), "line 2: step must be above that of the line before, 1, got 1"),
    "far": (json.dumps(look(10**30)), "line 2: step must be above"),
    "no time": (json.dumps(look(2, t=[])), "t must be time steps that rise from 0 or above, got []"),
    "half a step": (
        json.dumps(look(2, t=[0.5])),
        "t must be time steps that rise from 0 or above, got [0.5]",
    ),
    "no order": (json.dumps(look(2, t=[5, 1, 3])), "t must be time steps that rise from 0 or above, got [5,"),
    "short": (
        json.dumps(look(2, gates=[1.0])),
        "line 2: core:0:0: gates must be 20 numbers, one for each of t",
    ),
    "a word": (json.dumps(look(2, c=["much"] * 20)), "core:0:0: c must be a number"),
    "text for numbers": (json.dumps(look(2, c="1" * 20)), "core:0:0: c must be 20 numbers"),
    "negative": (json.dumps(look(2, half_life=-1.0)), "half_life must be above 0, got -1"),
    "below 0": (json.dumps(look(2, carry=[-1.0] * 20)), "carry must be at least 0, got -1"),
    "no half-life": (json.dumps({"step": 2, "layers": {"k:0:0": {"t": [1]}}}), "lacks the field 'half_life'"),
}


@pytest.mark.parametrize(("line", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_line_costs_the_gradients_and_not_the_run(make_study, line, message):
    folder = make_study(arms=A, seeds=[0], epochs=2)
    path = folder / "a/seed-0/flow.jsonl"
    path.write_text("\n".join([json.dumps(GOOD[0]), line, json.dumps(GOOD[2]), ""]))
    seal(path)
    ((run,),) = (study.runs for study in report.load([folder]))
    assert (run.status, run.seen, len(run.curves["valid.accuracy"])) == (report.Status.COMPLETED, (), 2)
    assert run.flow_damage.startswith("flow.jsonl, line 2")
    assert message in run.flow_damage


def test_damage_is_named_on_the_page(make_study):
    folder = make_study(arms=A, epochs=1)
    before = report.summarise(report.load([folder])[0])
    for run in ("a/seed-0", "a/seed-1", "a/seed-2"):
        watch(folder, run, GOOD)
    write_lines(folder / "a/seed-1/flow.jsonl", GOOD[:2])
    (folder / "a/seed-2/flow.jsonl").unlink()
    _, page, plots, rows = written(folder)
    assert "Not in these figures: a/seed-1 flow.jsonl has changed since the run ended" in page.text
    assert "a/seed-2 flow.jsonl cannot be read: No such file" in page.text
    assert {row["seed"] for row in rows} == {"0"}
    assert {row[2] for row in traces(plots["half-life"], "median")[0]["customdata"]} == {"1 of 3 seeds"}
    assert report.summarise(report.load([folder])[0]) == before


def test_more_steps_than_can_be_seen_are_thinned_out_but_not_in_the_table(make_study):
    folder = make_study(arms={"a": "a", "b": "b"}, seeds=[0], epochs=1)
    watch(
        folder,
        "a/seed-0",
        [look(step, half_life=float(step), t=[0], h=[1.0], c=[1.0]) for step in range(1, 2502)],
    )
    watch(folder, "b/seed-0", [look(step) for step in (1, 1001, 2501)])
    _, page, plots, rows = written(folder)
    (line,), (other,) = (traces(plots["half-life"], "median", arm) for arm in (0, 1))
    assert (len(line["x"]), line["x"][0], line["x"][-1]) == (1000, 1, 2501)
    assert line["y"] == line["x"]
    assert other["x"] == [1, 1001, 2501]
    assert "1000 evenly spaced training steps of an arm are drawn" in page.text
    assert sum(row["arm"] == "a" and row["quantity"] == "half_life" for row in rows) == 2501
