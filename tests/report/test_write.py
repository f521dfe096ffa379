"""The files of a report: complete, self-contained, safe to open, and the same every time."""

import csv
import errno
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.markup import Page

from bptt import report
from bptt.report import _html

NASTY = "<script>alert(1)</script>"
ARMS = {"vanilla": "vanilla", "nasty": NASTY, "_other": "_низ $x$ 漢字 {{ 7*7 }}"}
ENDS = {
    ("vanilla", 1): "failed",
    ("nasty", 0): "non-finite",
    ("_other", 1): "missing",
    ("vanilla", 2): "solved",
}


@pytest.fixture(scope="module")
def written(study_maker, tmp_path_factory):
    """A report of everything at once: every kind of ending, names that need escaping, a damaged run."""
    make = study_maker(tmp_path_factory.mktemp("report"))
    folder = make(arms=ARMS, epochs=5, ends=ENDS, train={"anneal_epochs": 2}, title=f"Digits {NASTY}")
    (folder / "nasty/seed-1/metrics.jsonl").write_text("garbage\n")
    failed = {"error": f"ValueError: {NASTY}", "traceback": f"Traceback: {NASTY}", "epoch": 3, "step": 80}
    (folder / "vanilla/seed-1/failed.json").write_text(json.dumps(failed))
    return report.write([folder])


@pytest.fixture(scope="module")
def page(written):
    return Page(written.index.read_text(encoding="utf-8"))


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_files(written):
    folder = written.index.parent
    keys = ("validation-accuracy", "training-loss", "gradient-norm")
    assert [path.name for path in written.figures] == [
        f"{key}.{kind}" for key in keys for kind in ("png", "svg")
    ]
    assert [path.name for path in written.tables] == ["curves.csv", "summary.csv", "runs.csv"]
    paths = {written.index, *written.figures, *written.tables}
    assert {path for path in folder.iterdir() if path.is_file()} == paths
    assert all(path.stat().st_size > 100 for path in paths)
    assert (folder.name, folder.parent.name) == ("report", "demo-lite")
    assert {path.read_bytes()[:4] for path in written.figures if path.suffix == ".png"} == {b"\x89PNG"}


def test_the_same_results_give_the_same_bytes(written, tmp_path):
    again = report.write([written.index.parents[1]], tmp_path / "again")
    before = sorted(path for path in written.index.parent.iterdir() if path.is_file())
    after = sorted(again.index.parent.iterdir())
    assert [path.name for path in before] == [path.name for path in after]
    differing = [
        one.name for one, two in zip(before, after, strict=True) if one.read_bytes() != two.read_bytes()
    ]
    assert not differing


def test_nothing_from_a_file_becomes_markup(written, page):
    markup = written.index.read_text(encoding="utf-8")
    assert NASTY not in markup.replace(_html.plotly_script(), "")
    assert not any(NASTY.encode() in path.read_bytes() for path in written.figures)
    assert page.text.count(NASTY) >= 4  # title, arm, error, traceback: shown as they are
    assert "{{ 7*7 }}" in page.text
    assert sum(tag == "script" for tag, _ in page.tags) == 5  # three figures, plotly, ours


def test_the_page_asks_for_nothing_else(written, page):
    policy = [attrs["content"] for tag, attrs in page.tags if "http-equiv" in attrs]
    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
    ]
    loads = {"src", "srcset", "poster", "data", "action", "background"}
    for tag, attrs in page.tags:
        for name in loads & attrs.keys():
            assert str(attrs[name]).startswith("data:image/svg+xml;base64,"), (tag, name)
        assert tag not in ("link", "base", "iframe", "object", "embed")
    links = {str(attrs["href"]) for tag, attrs in page.tags if "href" in attrs}
    beside = {path.name for path in (*written.figures, *written.tables)}
    assert {link for link in links if not link.startswith("#")} == beside
    own = written.index.read_text(encoding="utf-8").replace(_html.plotly_script(), "")
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org)", own)


def test_the_page_can_be_read_by_everyone(page):
    tags = [tag for tag, _ in page.tags]
    assert ("html", {"lang": "en"}) in page.tags
    assert any(attrs.get("name") == "viewport" for _, attrs in page.tags)
    headings = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    plots = [attrs for tag, attrs in page.tags if attrs.get("class") == "plot"]
    assert len(plots) == tags.count("figure") == 3
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in plots)
    boxed = [attrs for _, attrs in page.tags if attrs.get("class") == "scroll"]
    assert len(boxed) == tags.count("table")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {
        str(attrs["href"])[1:] for _, attrs in page.tags if str(attrs.get("href")).startswith("#")
    } <= set(ids)


def test_every_run_that_did_not_finish_is_named(page):
    for text in (
        "4 of 9 runs did not finish or cannot be used",
        "nasty/seed-0 non-finite loss at step 127, in epoch 4",
        "nasty/seed-1 damaged metrics.jsonl, line 1 is not JSON",
        f"vanilla/seed-1 failed ValueError: {NASTY}",
        "_other/seed-1 missing it has not been started",
    ):
        assert text in page.text


def test_the_page_says_how_to_get_the_same(written, page):
    assert "bptt run demo --profile lite --seeds 0 1 2" in page.text
    assert '"hidden_size": 100' in page.text
    assert "torch 2.13.0 every run" in page.text
    done = json.loads((written.index.parents[1] / "vanilla/seed-0/done.json").read_text())
    assert done["metrics_sha256"] in page.text
    assert done["weights_sha256"] in page.text
    assert "detach.h — 0.25 0.5" in page.text  # what differs between the arms


def test_the_figures_on_the_page_are_json(page):
    plots = [json.loads(script) for script in page.scripts if script.startswith('{"data"')]
    assert len(plots) == 3
    assert not any("<" in script for script in page.scripts if script.startswith('{"data"'))
    assert {trace["meta"]["arm"] for plot in plots for trace in plot["data"]} == {0, 1, 2}


def test_the_curves_are_complete_and_exact(written):
    rows = read_csv(written.tables[0])
    assert list(rows[0]) == ["arm", "seed", "epoch", "metric", "value"]
    found = {
        int(row["epoch"]): float(row["value"])
        for row in rows
        if (row["arm"], row["seed"], row["metric"]) == ("_other", "2", "valid.accuracy")
    }
    lines = (written.index.parents[1] / "_other/seed-2/metrics.jsonl").read_text().splitlines()
    assert found == {row["epoch"]: row["valid"]["accuracy"] for row in map(json.loads, lines)}
    runs = {(row["arm"], row["seed"]) for row in rows}
    assert runs == {(arm, str(seed)) for arm in ARMS for seed in range(3)} - {("nasty", "1"), ("_other", "1")}


def test_the_summary_and_the_runs_as_csv(written):
    (study,) = report.load([written.index.parents[1]])
    rows = read_csv(written.tables[1])
    best = {row["arm"]: row for row in rows if row["quantity"] == "best validation accuracy"}
    for arm in report.summarise(study):
        assert float(best[arm.arm.name]["value"]) == arm.best.value
        assert int(best[arm.arm.name]["seeds"]) == arm.best.n
    runs = read_csv(written.tables[2])
    assert [row["status"] for row in runs] == [run.status.value for run in study.runs]


def test_several_studies_on_one_page(make_study):
    one, two = (make_study(name, seeds=[0], epochs=1, arms={"a": name}) for name in ("one", "two"))
    paths = report.write([one, two])
    assert paths.index == one.parent / "report/index.html"
    assert {path.parent.name for path in paths.tables} == {"one-lite", "two-lite"}
    page = Page(paths.index.read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags].count("article") == 2
    links = {str(attrs["href"]) for _, attrs in page.tags if "href" in attrs}
    assert {link for link in links if not link.startswith("#")} == {
        path.relative_to(paths.index.parent).as_posix() for path in (*paths.tables, *paths.figures)
    }
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_studies_in_different_places_need_a_place_to_go(study_maker, tmp_path):
    twins = [study_maker(tmp_path / name)(seeds=[0], epochs=1, arms={"a": "a"}) for name in ("here", "there")]
    with pytest.raises(ValueError, match="out must be given for studies that do not lie in one folder"):
        report.write(twins)
    paths = report.write(twins, tmp_path / "both")
    assert [
        path.relative_to(tmp_path / "both").as_posix() for path in paths.tables if path.stem == "runs"
    ] == [
        "demo-lite/runs.csv",
        "demo-lite~2/runs.csv",
    ]


def test_a_study_without_any_result_has_a_page(make_study):
    folder = make_study(seeds=[0], ends={("vanilla", 0): "missing", ("h-detach-0.25", 0): "missing"})
    paths = report.write([folder])
    assert paths.figures == ()
    text = Page(paths.index.read_text(encoding="utf-8")).text
    assert "No run has finished, so there is no outcome yet (vanilla: 1 missing; h-detach" in text
    assert "2 of 2 runs did not finish" in text


def test_out_must_be_a_folder_and_nothing_is_left_behind(make_study, tmp_path):
    folder = make_study(seeds=[0])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="out must be a folder"):
        report.write([folder], tmp_path / "file")
    with pytest.raises(ValueError, match="must be a study folder"):
        report.write([folder, tmp_path / "nowhere"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("out", ["/dev/null/x", "taken/report", "long" * 80])
def test_what_cannot_be_written_is_named(make_study, tmp_path, out):
    folder = make_study(seeds=[0], epochs=1, arms={"a": "a"})
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(report.ReportError, match=r"cannot be written: \w") as caught:
        report.write([folder], tmp_path / out)
    assert str(tmp_path / out) in str(caught.value)
    assert not list(tmp_path.rglob(".*"))


def test_a_full_disk_leaves_the_old_report_and_no_rest(make_study, tmp_path, monkeypatch):
    folder = make_study(seeds=[0], epochs=1, arms={"a": "a"})
    before = report.write([folder]).index.read_bytes()

    def full(path, data):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(report.ReportError, match=r"\.png cannot be written: No space left on device"):
        report.write([folder])
    assert (folder / "report/index.html").read_bytes() == before
    assert not list(folder.rglob(".*"))


def test_a_path_that_cannot_be_looked_at_is_named(make_study):
    with pytest.raises(report.ReportError, match=r"xxx cannot be read: File name too long"):
        report.load([make_study(seeds=[0]), "x" * 300])


def test_a_report_needs_no_torch_and_loading_it_nothing_heavy(make_study):
    folder = make_study(seeds=[0], epochs=1, arms={"a": "a"})
    code = f"""if True:
        import sys
        import bptt.report
        heavy = {{"torch", "matplotlib", "plotly", "jinja2", "scipy", "pandas"}}
        assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
        sys.modules["torch"] = None  # from here on an import of torch fails
        bptt.report.write([{str(folder)!r}])
        assert "matplotlib.pyplot" not in sys.modules
        assert "pandas" not in sys.modules
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "report/index.html").exists()
