"""A study holds one protocol: what belongs to it joins it, and what does not is refused whole."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.experiments import contents, small

from bptt import train
from bptt.experiments import StudyError, resume, run

FIRST, SECOND = "bptt run copying", "bptt run copying --seeds 1"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of one finished run."""
    result = run(small(arms=["vanilla"]), tmp_path_factory.mktemp("finished"), command=FIRST)
    assert not result.failed
    return result.folder


@pytest.fixture
def study(finished, tmp_path):
    """A copy of it, to be spoiled."""
    return shutil.copytree(finished, tmp_path / "runs" / finished.name)


def page(study):
    return json.loads((study / "study.json").read_text())


def test_seeds_and_arms_join_and_every_command_is_kept(study):
    before = page(study)
    assert before["commands"] == [FIRST]
    for spec in (small(arms=["vanilla"], seeds=[1]), small(arms=["h-detach-0.5"]), small(arms=["vanilla"])):
        assert not run(spec, study.parent, command=SECOND).failed
    after = page(study)
    assert after["commands"] == [FIRST, SECOND]
    assert "command" not in after
    assert [one["folder"] for one in after["runs"]] == [
        "vanilla/seed-0",
        "h-detach-0.5/seed-0",
        "vanilla/seed-1",
    ]
    assert after["spec"]["base"] == before["spec"]["base"]
    assert after["task"] == before["task"]
    assert train.read_spec(study / "vanilla" / "seed-0")["command"] == FIRST
    assert train.read_spec(study / "vanilla" / "seed-1")["command"] == SECOND
    assert not resume(study).failed
    assert page(study) == after


def test_other_arms_under_other_settings_are_refused(study):
    before = contents(study)
    settings = ["task.delay=4", "train.lr=0.5", "model.cell=gru"]
    with pytest.raises(StudyError) as refusal:
        run(small(arms=["h-detach-0.5"], seeds=[3], settings=settings), study.parent)
    told = dict(re.findall(r"^  (\S+): (.*)$", str(refusal.value), re.M))
    assert told == {
        "task.delay": "3 there, 4 asked for",
        "train.lr": "0.001 there, 0.5 asked for",
        "model.cell": "'lstm' there, 'gru' asked for",
    }
    assert contents(study) == before


def test_the_refusal_of_a_variant_gives_it_a_folder(study):
    variant = small(arms=["vanilla"], settings=["task.delay=4"])
    with pytest.raises(StudyError) as refusal:
        run(variant, study.parent)
    (place,) = re.findall(r"--out (\S+);", str(refusal.value))
    assert run(variant, place).folder.parent == study.parent.with_name("runs-variant")


def test_an_arm_may_differ_in_what_is_its_own_and_then_keeps_to_it(study):
    for delay in (4, 5):
        spec = small(settings=[f'arms."h-detach-0.5".task.delay={delay}', "train.epochs=3"])
        if delay == 4:
            assert not run(spec, study.parent).failed
            continue
        expected = r'arms\."h-detach-0\.5"\.task\.delay: 4 there, 5 asked for'
        with pytest.raises(StudyError, match=expected):
            run(spec, study.parent)
    arms = page(study)["spec"]["arms"]
    assert {name: arm["task"]["delay"] for name, arm in arms.items()} == {"vanilla": 3, "h-detach-0.5": 4}


def test_other_data_do_not_join(study):
    document = page(study)
    document["task"]["fingerprint"] = "0" * 64
    (study / "study.json").write_text(json.dumps(document))
    with pytest.raises(StudyError, match=f"begun with data of fingerprint {'0' * 64}, got"):
        run(small(arms=["h-detach-0.5"]), study.parent)


def put(path, value):
    def damage(document):
        *place, last = path.split(".")
        for key in place:
            document = document[key]
        document[last] = value

    return damage


def drop(key):
    return lambda document: document.pop(key)


MALFORMED = {
    "spec a word": (put("spec", "x"), "spec must be an object, got 'x'"),
    "spec without base": (lambda document: document["spec"].pop("base"), "spec.base must be an object"),
    "base of words": (put("spec.base.train", "x"), "spec.base.train must be an object"),
    "device a number": (put("spec.device", 3), "spec.device must be a string, got 3"),
    "device unknown": (put("spec.device", "tpu"), "unknown device"),
    "arms a list": (put("spec.arms", []), "must hold at least one"),
    "arm a number": (put("spec.arms.vanilla", 3), "arms.vanilla: must be a table, got 3"),
    "task unknown": (put("spec.arms.vanilla.task.name", "copyng"), "unknown task"),
    "cell a list": (put("spec.arms.vanilla.model.cell", [1]), "arms.vanilla.model.cell: must be"),
    "size a word": (put("spec.arms.vanilla.model.hidden_size", "x"), "hidden_size: must be an integer"),
    "seeds a word": (put("spec.seeds", "x"), "seeds: must be a list of at least one integer"),
    "title a list": (put("spec.title", []), "experiment.title: must be a string"),
    "profile a list": (put("profile", []), "profile must be a string"),
    "runs a table": (put("runs", {}), "runs must be a list"),
    "no runs": (put("runs", []), "runs must be at least one of vanilla/seed-0, each once, got none"),
    "a run of words": (put("runs", ["x"]), "runs.folder must be a string"),
    "a run outside": (put("runs", [{"folder": "../x"}]), "runs must be at least one of vanilla/seed-0"),
    "commands a word": (put("commands", "x"), "commands must be a list"),
    "commands of numbers": (put("commands", [1]), "commands must be at least one string"),
    "no commands": (drop("commands"), "commands must be a list, got None"),
    "task a list": (put("task", []), "task must be an object"),
    "no fingerprint": (put("task", {}), "task.fingerprint must be a string"),
    "data a number": (put("data", 3), "data must be a string, got 3"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_study_is_named(study, what):
    damage, said = MALFORMED[what]
    document = page(study)
    damage(document)
    (study / "study.json").write_text(json.dumps(document))
    before = contents(study)
    for go_on in (lambda: resume(study), lambda: run(small(arms=["vanilla"]), study.parent)):
        with pytest.raises(StudyError) as refusal:
            go_on()
        assert str(refusal.value).startswith(str(study / "study.json"))
        assert said in str(refusal.value)
    assert contents(study) == before


@pytest.mark.parametrize("written", [None, "", "{", "3", "[1]", "null", "[" * 100_000, b"\xff\xfe\x00"])
def test_a_folder_that_is_no_study_is_refused(tmp_path, written):
    path = tmp_path / "study.json"
    if written is not None:
        path.write_bytes(written if isinstance(written, bytes) else written.encode())
    with pytest.raises(StudyError, match=re.escape(str(path))):
        resume(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ([] if written is None else ["study.json"])


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StudyError, match=r"study\.json cannot be written: Not a directory"):
        run(small(), tmp_path / "out")


def test_what_blocks_nothing_comes_first_whichever_was_asked_for_first(tmp_path):
    for arm in ("h-detach-0.5", "vanilla"):
        assert not run(small(arms=[arm]), tmp_path).failed
    assert [arm["name"] for arm in page(tmp_path / "copying-smoke")["arms"]] == ["vanilla", "h-detach-0.5"]


def test_commands_started_together_all_keep_their_runs(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "from helpers.experiments import small; from bptt.experiments import run\n"
        "if __name__ == '__main__':\n"
        "    spec = small(arms=['vanilla'], seeds=[int(sys.argv[1])])\n"
        "    assert not run(spec, sys.argv[2], workers=1).failed\n"
    )
    file = tmp_path / "add.py"
    file.write_text(script)
    helpers = Path(__file__).resolve().parents[1]
    started = [
        subprocess.Popen([sys.executable, str(file), str(seed), str(tmp_path), str(helpers)])
        for seed in range(4)
    ]
    assert [process.wait(timeout=200) for process in started] == [0, 0, 0, 0]
    assert page(tmp_path / "copying-smoke")["seeds"] == [0, 1, 2, 3]
    assert len(page(tmp_path / "copying-smoke")["runs"]) == 4
