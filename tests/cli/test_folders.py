"""Folders on the command line: misspelt, damaged, or not to be written."""

import pytest
from helpers.commands import refused
from helpers.studies import StudyMaker

from bptt.cli import main


@pytest.mark.parametrize("command", ["resume", "report"])
def test_a_misspelt_folder_is_answered_with_the_nearest(capsys, tmp_path, command):
    (tmp_path / "demo-lite" / "vanilla").mkdir(parents=True)
    place = tmp_path / "demo-lite"
    assert f"there is no {tmp_path / 'demo-lit'}. Did you mean '{place}'?" in refused(
        capsys, command, str(tmp_path / "demo-lit" / "vanilla" / "seed-0")
    )
    assert f"Did you mean '{place / 'vanilla'}'?" in refused(
        capsys, command, str(place / "vanila" / "seed-0")
    )


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"spec": 3}', '{"spec": {}, "profile": []}', "[" * 10**5]
)
@pytest.mark.parametrize("command", ["resume", "report", "show", "run"])
def test_a_malformed_study_is_refused_by_name(capsys, tmp_path, command, text):
    (tmp_path / "study.json").write_text(text)
    given = tmp_path if command in ("resume", "report") else tmp_path / "study.json"
    assert str(tmp_path) in refused(capsys, command, str(given))


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
