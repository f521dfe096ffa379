"""`bptt flow`: the verdict by its words, its page and its exit status."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers.commands import refused

from bptt import report
from bptt.cli import main

MODELS = """
import sys

import torch
import bptt


def squares(y, _):
    return y.square().sum(-1)


def forgets(data=None):
    torch.manual_seed(0)
    layer = torch.nn.LSTM(1, 8)
    x = torch.randn(50, 4, 1) if data is None else torch.load(data)
    return layer, x, squares


def keeps():
    layer, x, loss = forgets()
    with torch.no_grad():
        layer.bias_ih_l0[8:16] = 6
    return {"model": layer, "batch": x, "loss": loss, "name": "one that keeps", "lag": 30}


def nothing():
    return None


def broken():
    raise ValueError("no such thing")


def lost():
    return {}["key"]


def leaves(data=None):
    print("leaving")
    sys.exit(1 if data is None else 0)


def breaks():
    layer, x, _ = forgets()
    return layer, x, lambda y, _: sys.exit()


class Own(BaseException):
    pass


def raises():
    raise Own("mine")


def stops():
    raise KeyboardInterrupt


def numbers():
    return dict(zip(("model", "batch", "loss"), forgets())) | {"about": {"lr": {0.1}}}


def talks():
    print("loading")
    return forgets()


def stranger():
    return dict(zip(("model", "batch", "loss"), forgets())) | {"observe": print}


def helped():
    import myhelper

    return myhelper.make()


def pooled():
    layer, x, _ = forgets()
    return layer, x, lambda y, _: y.mean(0).square().sum(-1)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mymodels.py").write_text(MODELS)
    yield tmp_path
    sys.modules.pop("mymodels", None)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    place = tmp_path_factory.mktemp("flow")
    assert main(["run", "demo", "--profile", "smoke", "--out", str(place), "--workers", "2"]) == 0
    return place / "demo-smoke"


def test_the_status_says_whether_the_lag_is_within_reach(here, capsys):
    assert main(["flow", "mymodels:forgets"]) == 1
    output = capsys.readouterr()
    assert "mymodels:forgets: LSTM, layer 0: vanishing: the gradient halves every" in output.out
    assert "a lag of 49 is out of reach" in output.out
    assert "- raise the bias of the forget gate" in output.out
    assert output.out.rstrip().endswith("page:  flow.html")
    assert "mymodels:forgets: step Jacobians" in output.err
    assert (here / "flow.html").exists()
    assert (here / "flow.npz").exists()
    assert main(["flow", "mymodels:forgets", "--lag", "5", "-o", "other.html"]) == 0
    assert (here / "other.html").exists()


def test_a_factory_may_say_more(here, capsys):
    assert main(["flow", "mymodels:keeps", "--out", "page.html"]) == 0
    output = capsys.readouterr().out
    assert "one that keeps: LSTM, layer 0: the gradient" in output
    assert "a lag of 30 is within reach" in output
    assert main(["flow", "mymodels:keeps", "--lag", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["wanted_lag"] == 20


def test_a_factory_may_import_what_lies_beside_it(here, capsys):
    (here / "myhelper.py").write_text("from mymodels import forgets as make")
    assert main(["flow", "mymodels:helped", "--json"]) == 1
    sys.modules.pop("myhelper")


def test_what_is_read_directly_is_said(here, capsys):
    assert main(["flow", "mymodels:pooled", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert "but by no way through time" in document["sentence"]


def test_json_is_for_machines(here, capsys):
    assert main(["flow", "mymodels:forgets", "mymodels:keeps", "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["within_reach"], second["within_reach"]) == (False, True)
    assert first["layers"][0]["verdict"]["kind"] == "vanishing"
    assert not (here / "flow.html").exists()


def test_a_factory_gets_the_data(here, capsys):
    import torch

    torch.save(torch.ones(7, 2, 1), here / "x.pt")
    main(["flow", "mymodels:forgets", "--data", str(here / "x.pt"), "--json"])
    (document,) = json.loads(capsys.readouterr().out)
    assert dict(document["frame"])["batch"] == "2 sequences of up to 7 steps"


def test_a_study_stands_for_its_runs(study, capsys):
    assert main(["flow", str(study), "--sequences", "7"]) in (0, 1)
    output = capsys.readouterr().out
    assert "vanilla, seed 0: LSTM core, layer 0" in output
    assert "h-detach-0.25, seed 0: LSTM core, layer 0" in output
    assert f"page:  {study / 'flow.html'}" in output
    page = (study / "flow.html").read_text()
    assert "of the best epoch" in page
    assert main(["report", str(study)]) == 0
    caution = re.compile(r'<p class="box warn caution" role="note">.*</p>')
    told = caution.findall((study / "report" / "index.html").read_text())
    assert caution.findall(page) == told != []
    (one, other) = sorted(study.glob("flow-*.npz"))
    with np.load(one) as first, np.load(other) as second:
        assert first["reach/norms"].shape == second["reach/norms"].shape == (1, 16)
        assert not np.array_equal(first["lag/core:0:0/h"], second["lag/core:0:0/h"])


def test_a_run_is_examined_in_its_precision(tmp_path, capsys):
    words = ["--arms", "vanilla", "--set", "train.precision=bf16-mixed", "--out", str(tmp_path)]
    assert main(["run", "demo", "--profile", "smoke", *words]) == 0
    capsys.readouterr()
    main(["flow", str(tmp_path / "demo-smoke"), "--json"])
    (document,) = json.loads(capsys.readouterr().out)
    assert document["layers"][0]["verdict"]["noise"] == pytest.approx(2**-7)
    assert dict(document["frame"])["train.precision"] == "bf16-mixed"


def test_of_a_run_the_frame_says_how_it_was_trained_and_is_examined(study, capsys):
    runs = [study / arm / "seed-0" for arm in ("vanilla", "h-detach-0.25")]
    main(["flow", *map(str, runs), "--json"])
    vanilla, blocked = (dict(each["frame"]) for each in json.loads(capsys.readouterr().out))
    assert {each["detachment"] for each in (vanilla, blocked)} == {"none, in evaluation mode"}
    assert vanilla["detachment in training"] == "none"
    assert blocked["detachment in training"].startswith("h 0.25, c 0.0, draw step, shared False")
    for run, frame in zip(runs, (vanilla, blocked), strict=True):
        page = json.loads((run / "spec.json").read_text())
        assert frame["spec"] == f"sha256 {page['hash'][:16]}"
        assert frame["seed"] == str(page["spec"]["seed"])
        assert frame["train.epochs"] == str(page["spec"]["train"]["epochs"])
        assert frame["model.hidden_size"] == str(page["spec"]["model"]["hidden_size"])
        assert frame["task.fingerprint"] == page["spec"]["task"]["fingerprint"]
    differ = {name for name in vanilla.keys() | blocked.keys() if vanilla.get(name) != blocked.get(name)}
    assert differ - {"cost"} == {"run", "weights", "spec", "detachment in training"}


def test_a_run_that_is_annealed_says_so(tmp_path, capsys):
    words = ["--arms", "h-detach-0.25", "--set", "train.anneal_epochs=1", "--out", str(tmp_path)]
    assert main(["run", "demo", "--profile", "smoke", *words]) == 0
    capsys.readouterr()
    main(["flow", str(tmp_path), "--json"])
    (document,) = json.loads(capsys.readouterr().out)
    frame = dict(document["frame"])
    expected = f"; none in the last 1 of {frame['train.epochs']} epochs"
    assert frame["detachment in training"].endswith(expected)


def test_a_run_whose_gradients_are_split_less_often_has_no_nan_in_its_maps(tmp_path, capsys):
    words = ["--arms", "vanilla", "--set", "train.watch_every=1", "--set", "train.paths_every=2"]
    assert main(["run", "demo", "--profile", "smoke", *words, "--out", str(tmp_path)]) == 0
    study = tmp_path / "demo-smoke"
    main(["flow", str(study)])
    with np.load(study / "flow.npz") as arrays:
        looked, split = arrays["training/steps"], arrays["training/core:0:0/split_steps"]
        assert split.tolist() == looked[1::2].tolist() != []
        for path in ("carry", "gates"):
            assert np.isfinite(arrays[f"training/core:0:0/{path}"]).all()
            assert len(arrays[f"training/core:0:0/{path}"]) == len(split)
    page = (study / "flow.html").read_text()
    assert page.count(f"Of {len(looked)} training steps looked at, the {len(split)} are drawn") == 2


def test_a_run_is_examined_as_it_is(study, tmp_path, capsys):
    page, run = tmp_path / "one.html", str(study / "vanilla" / "seed-0")
    main(["flow", run, run, "--json"])
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["vanilla, seed 0", run]
    assert main(["flow", str(study / "vanilla" / "seed-0"), "-o", str(page)]) in (0, 1)
    assert page.exists()
    assert "runs" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "takes run folders, or functions MODULE:FACTORY, got none"),
        (("nowhere",), "there is no nowhere"),
        (("mymodels:missing",), "must be MODULE:FACTORY, got no function 'missing' in mymodels"),
        (("absent_module:make",), "must be MODULE:FACTORY that can be imported: .*absent_module"),
        (("mymodels:nothing",), r"must return \(model, batch, loss\), or a dict with these, got NoneType"),
        (("mymodels:broken",), "mymodels:broken: no such thing"),
        (("mymodels:lost",), r"mymodels:lost: KeyError: 'key' \(.*mymodels.py, line \d+\)"),
        (("mymodels:leaves",), r"mymodels:leaves: SystemExit: 1 \(.*mymodels.py, line \d+\)"),
        (("mymodels:leaves", "--data", "x"), r"mymodels:leaves: SystemExit: 0 \("),
        (("mymodels:breaks",), r"mymodels:breaks: SystemExit:  \(.*mymodels.py"),
        (("mymodels:raises",), r"mymodels:raises: Own: mine \("),
        (("mymodels:numbers", "--json"), "TypeError: Object of type set is not JSON serializable"),
        (("mymodels:stranger",), "must return arguments of bptt.flow.examine, .* got 'observe'"),
        (("mymodels:forgets", "--lag", "50"), "lag must be from 1 to 49, .*got 50"),
        (("mymodels:forgets", "--lag", "x"), "--lag must be a whole number"),
        (("nowhere", "--lag", "1.5"), "--lag must be a whole number, such as --lag 2, got '1.5'"),
        (("nowhere", "--lag", "0"), "--lag must be at least 1, got 0"),
        (("nowhere", "--lag", "-3"), "--lag must be at least 1, got -3"),
        (("mymodels:forgets", "--sequences", "0"), "--sequences must be at least 1, got 0"),
        (("mymodels:forgets", "--sequences", "4"), "--sequences must be left out for functions"),
        (("mymodels:forgets", "--out", "page.txt"), r"--out must be an HTML file, \*\.html, got page.txt"),
        (("mymodels:forgets", "--wide"), "unknown|--wide"),
    ],
)
def test_bad_input_and_any_error_end_with_2(here, capsys, words, message):
    assert re.search(message, refused(capsys, "flow", *words).replace("\n", " "))
    assert not list(here.glob("*.html"))
    assert main(["flow", *words, "--json"]) == 2
    output = capsys.readouterr()
    assert re.search(message, output.err.replace("\n", " "))
    assert output.out == ""


def test_what_a_model_prints_is_no_json(here, capsys):
    assert main(["flow", "mymodels:talks", "--json"]) == 1
    output = capsys.readouterr()
    assert len(json.loads(output.out)) == 1
    assert "loading" in output.err.splitlines()


@pytest.mark.parametrize(
    "error", [RuntimeError("no such thing"), OSError("no such thing"), TypeError("no such thing")]
)
def test_an_error_in_writing_the_page_ends_with_2(here, capsys, monkeypatch, error):
    def broken(*_):
        raise error

    monkeypatch.setattr(report, "write_flow", broken)
    told = refused(capsys, "flow", "mymodels:keeps").replace("\n", "")
    assert re.search(rf"{type(error).__name__}: no such thing \(.*test_flow.py, line \d+\)", told)


def test_a_page_that_cannot_be_written_is_named(here, capsys):
    (here / "taken").write_text("")
    told = refused(capsys, "flow", "mymodels:keeps", "--out", "taken/page.html")
    assert "taken/page.npz cannot be written" in told


def test_ctrl_c_ends_with_130(here, capsys):
    assert main(["flow", "mymodels:stops", "--json"]) == 130
    assert capsys.readouterr().out == ""


def test_nobody_to_read_the_verdict_is_no_verdict(here):
    command = [sys.executable, "-m", "bptt.cli", "flow", "mymodels:forgets", "--lag", "49"]
    read, write = os.pipe()
    os.close(read)
    assert subprocess.run(command, stdout=write, stderr=write, check=False).returncode == 141
    os.close(write)


def test_a_lag_beyond_the_sequences_is_refused_before_measuring(study, capsys):
    run = study / "vanilla" / "seed-0"
    assert main(["flow", str(run), "--lag", "16"]) == 2
    told = capsys.readouterr().err
    assert f"{run}: --lag must be from 1 to 15, as its sequences have 16 steps, got 16" in told
    assert "the verdict" not in told
    assert main(["flow", str(run), "--lag", "15", "--json"]) in (0, 1)


def test_a_folder_without_runs_is_named(here, capsys):
    (here / "empty").mkdir()
    assert "must be a run folder or a study with runs in it" in refused(capsys, "flow", "empty")
    assert main(["run", "gradient-flow-rnn-lstm", "--profile", "smoke"]) == 0
    assert "is shown by bptt report" in refused(capsys, "flow", "runs/gradient-flow-rnn-lstm-smoke")
