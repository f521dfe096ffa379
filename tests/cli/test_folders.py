"""Folders on the command line: misspelt, damaged, or not to be written."""

import shutil

import pytest
from helpers.commands import refused
from helpers.experiments import small
from helpers.studies import StudyMaker

from bptt import experiments
from bptt.cli import main


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that is done."""
    return experiments.run(small(), tmp_path_factory.mktemp("finished")).folder


@pytest.mark.parametrize("command", ["resume", "report"])
def test_a_misspelt_folder_is_answered_with_the_nearest(capsys, tmp_path, command):
    place = StudyMaker(tmp_path)()
    assert f"there is no {tmp_path / 'demo-lit'}. Did you mean '{place}'?" in refused(
        capsys, command, str(tmp_path / "demo-lit" / "vanilla" / "seed-0")
    )
    assert f"Did you mean '{place / 'vanilla'}'?" in refused(
        capsys, command, str(place / "vanila" / "seed-0")
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("demo", "runs/demo-lite"),
        ("demo-lite", "runs/demo-lite"),
        ("demo-lite/vanilla/seed-0", "runs/demo-lite/vanilla/seed-0"),
        ("demo-lit/vanilla/seed-0", "runs/demo-lite"),
        ("lr", "runs/lr"),
        ("lr/copying-lit", "runs/lr/copying-lite"),
        ("runs/copying-lite", "runs/lr/copying-lite"),
        ("rums/demo-lite", "runs"),
    ],
)
@pytest.mark.parametrize("command", ["resume", "report"])
def test_a_misspelt_folder_is_looked_for_in_runs(capsys, tmp_path, monkeypatch, command, given, meant):
    monkeypatch.chdir(tmp_path)
    StudyMaker(tmp_path / "runs")("demo", seeds=[0])
    StudyMaker(tmp_path / "runs" / "lr")("copying", seeds=[0])
    StudyMaker(tmp_path / "runs" / ".old")("demo", profile="lit")
    (tmp_path / "docs" / "demo").mkdir(parents=True)  # as near to demo, but without results
    assert refused(capsys, command, given).endswith(f". Did you mean '{meant}'?\n")


def test_nothing_is_suggested_where_there_are_no_results(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    assert refused(capsys, "resume", "demo").endswith("there is no demo.\n")


def test_a_folder_is_resumed_by_its_one_study(capsys, tmp_path, finished):
    place = tmp_path / "runs" / "lr"
    study = place / finished.name
    shutil.copytree(finished, study)
    (place / ".old" / "study.json").mkdir(parents=True)
    (place / "notes").mkdir()
    for folder in (place, tmp_path / "runs"):
        assert main(["resume", str(folder)]) == 0
        assert f"ended: 1 of 1 runs, in {study}\n" in capsys.readouterr().out
    shutil.move(study / "h-detach-0.5" / "seed-0" / "spec.json", tmp_path)
    assert main(["resume", str(place)]) == 1
    assert f"go on with:  bptt resume {study}\n" in capsys.readouterr().err


def test_a_folder_of_several_studies_is_not_resumed(capsys, tmp_path):
    one = StudyMaker(tmp_path / "lr")("one", seeds=[0])
    two = StudyMaker(tmp_path)("two", seeds=[0])
    (tmp_path / "three-lite").symlink_to(StudyMaker(tmp_path / ".elsewhere")("three", seeds=[0]))
    told = refused(capsys, "resume", str(tmp_path))
    assert told.endswith(f"but it holds 3: {one}, {tmp_path / 'three-lite'}, {two}\n")


def test_a_folder_without_a_study_is_not_resumed(capsys, tmp_path):
    (tmp_path / "vanilla").mkdir()
    assert "must be a study folder or one of its run folders" in refused(capsys, "resume", str(tmp_path))


@pytest.mark.parametrize("command", ["run", "show"])
def test_results_in_the_place_of_a_spec_are_answered_with_what_can_be_done(capsys, tmp_path, command):
    study = StudyMaker(tmp_path / "my runs")(seeds=[0])
    run = study / "vanilla" / "seed-0"
    for given, kind in ((study, "study"), (study / "study.json", "study"), (run, "run")):
        told = refused(capsys, command, str(given))
        place = study if kind == "study" else run
        assert f"must be an experiment or a spec file, got a {kind}: `bptt resume '{place}'` goes on" in told
        assert f"`bptt report '{place}'` shows it" in told


def test_a_study_beside_is_answered_before_its_name_is_taken_for_an_experiment(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    StudyMaker(tmp_path)(seeds=[0])
    assert "got a study: `bptt resume demo-lite` goes on with it" in refused(capsys, "run", "demo-lite")
    assert "unknown experiment" in refused(capsys, "run", "x" * 300)


def test_a_folder_of_studies_and_of_their_reports_is_reported(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        StudyMaker(tmp_path / "runs")(name, seeds=[0])
    assert main(["report", "runs/one-lite"]) == 0
    assert main(["report", "runs"]) == 0
    assert "\npage:  runs/report/index.html\n" in capsys.readouterr().out
    folders = sorted(f"runs/{each.name}" for each in (tmp_path / "runs").iterdir())
    assert folders == ["runs/one-lite", "runs/report", "runs/two-lite"]
    assert main(["report", *folders]) == 0
    told = capsys.readouterr().out
    assert "\npage:  runs/report/index.html\n" in told
    assert [line for line in told.splitlines() if "Digits" in line] == [
        "runs/one-lite  Digits, pixel by pixel",
        "runs/two-lite  Digits, pixel by pixel",
    ]


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"spec": 3}', '{"spec": {}, "profile": []}', "[" * 10**5]
)
@pytest.mark.parametrize("command", ["resume", "report", "show", "run"])
def test_a_malformed_study_is_refused_by_name(capsys, tmp_path, command, text):
    (tmp_path / "study.json").write_text(text)
    given = tmp_path if command in ("resume", "report") else tmp_path / "study.json"
    told = refused(capsys, command, str(given))
    assert str(given) in told
    assert (f"bptt resume {tmp_path}" in told) == (command in ("show", "run"))


@pytest.mark.parametrize("argv", [["resume"], ["report"], ["doctor", "--out"], ["data", "check"]])
def test_a_name_that_the_system_refuses_is_told_without_a_traceback(capsys, argv):
    assert f"{'x' * 300} cannot be used: File name too long" in refused(capsys, *argv, "x" * 300)


def test_a_folder_that_cannot_be_written_is_named(capsys, tmp_path):
    (tmp_path / "file").touch()
    nowhere = tmp_path / "file" / "folder"
    told = refused(capsys, "report", str(StudyMaker(tmp_path)()), "--out", str(nowhere))
    assert str(nowhere) in told
    assert "cannot be written: Not a directory" in told
    assert f"{nowhere}/demo-smoke/study.json cannot be written: Not a directory" in refused(
        capsys, "run", "demo", "--profile", "smoke", "--out", str(nowhere)
    )
    assert main(["data", "fetch", "mnist", "--dest", str(nowhere)]) == 1
    assert "cannot be written: Not a directory; --dest takes" in capsys.readouterr().err
