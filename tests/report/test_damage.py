"""Damage to result files: named with the file, never believed, and never a crash."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.studies import STATE, write_done

from bptt import report
from bptt.report import Status


def only_run(folder: Path) -> report.Run:
    (study,) = report.load([folder])
    return next(run for run in study.runs if run.name == "vanilla/seed-0")


def replace(file: str, old: str, new: str, count: int = 1):
    def damage(run: Path) -> None:
        text = (run / file).read_text()
        assert old in text
        (run / file).write_text(text.replace(old, new, count))

    return damage


def reseal(**changes: object):
    """A done.json that says something else, with the hash of what it says."""

    def damage(run: Path) -> None:
        write_done(run, json.loads((run / "done.json").read_text()) | changes)

    return damage


def write(file: str, content: bytes):
    return lambda run: (run / file).write_bytes(content)


DAMAGES = {
    "spec not JSON": (write("spec.json", b"{"), "spec.json is not JSON"),
    "spec not an object": (write("spec.json", b"[1]"), "spec.json must hold a JSON object, got list"),
    "spec not text": (write("spec.json", b"\xff\xfe{}"), "spec.json is not UTF-8 text"),
    "spec without hash": (replace("spec.json", '"hash"', '"hush"'), "spec.json lacks the field 'hash'"),
    "spec changed": (
        replace("spec.json", '"hidden_size": 100', '"hidden_size": 99'),
        "spec.json has been changed",
    ),
    "spec gone": (lambda run: (run / "spec.json").unlink(), "spec.json cannot be read"),
    "metrics gone": (lambda run: (run / "metrics.jsonl").unlink(), "metrics.jsonl is absent"),
    "metrics garbage": (
        replace("metrics.jsonl", '"epoch": 2', '"epoch": 2 2'),
        "metrics.jsonl, line 2 is not JSON",
    ),
    "metrics edited": (
        replace("metrics.jsonl", '"clipped": 0.35', '"clipped": 0.36'),
        "metrics.jsonl has changed",
    ),
    "metrics reordered": (
        replace("metrics.jsonl", '"epoch": 2', '"epoch": 3'),
        "line 2: epoch must be 2, got 3",
    ),
    "metrics without group": (
        replace("metrics.jsonl", '"valid"', '"void"'),
        "line 1 lacks the field 'valid'",
    ),
    "metrics without value": (
        replace("metrics.jsonl", '"median"', '"middle"'),
        "its fields must be those of line 1",
    ),
    "metrics with a word": (
        replace("metrics.jsonl", '"clipped": 0.35', '"clipped": "much"'),
        "must be a number",
    ),
    "metrics with a truth": (
        replace("metrics.jsonl", '"epoch": 1', '"epoch": true'),
        "epoch must be a whole number",
    ),
    "metrics too long": (
        replace("metrics.jsonl", '"clipped": 0.35', '"clipped": 1' + "0" * 400),
        "must be a number that a float64 holds",
    ),
    "metrics much too long": (
        replace("metrics.jsonl", '"clipped": 0.35', '"clipped": 1' + "0" * 5000),
        "metrics.jsonl, line 1 is not JSON we read",
    ),
    "spec no text": (replace("spec.json", '"bptt run demo"', '"\\ud800"'), "half of a surrogate pair"),
    "done edited": (
        replace("done.json", '"test": {"loss": 0.', '"test": {"loss": 1.'),
        "done.json has been changed",
    ),
    "done not sealed": (replace("done.json", '"sha256"', '"sha"'), "done.json lacks the field 'sha256'"),
    "done unknown": (reseal(status="perfect"), "done.json: status must be one of"),
    "done short": (reseal(epoch=7), "metrics.jsonl must have 7 lines"),
    "done without test": (reseal(test={"loss": []}), "done.json: test.loss must be a number"),
    "best elsewhere": (
        reseal(best={"epoch": 9, "valid": {}}),
        "best.epoch must be one of the 6 of metrics.jsonl, got 9",
    ),
    "best made up": (
        reseal(best={"epoch": 6, "valid": {"loss": 0.01, "accuracy": 0.999}}),
        "done.json: best.valid.accuracy must be that of epoch 6 in metrics.jsonl, 0.9",
    ),
    "best in part": (reseal(best={"epoch": 6, "valid": {"accuracy": 0.999}}), "best.valid.accuracy must be"),
    "weights changed": (write("weights.safetensors", b"other"), "weights.safetensors has changed"),
    "weights gone": (lambda run: (run / "weights.safetensors").unlink(), "weights.safetensors is absent"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_is_named_with_the_file(make_study, damage, message):
    folder = make_study(seeds=[0])
    damage(folder / "vanilla/seed-0")
    run = only_run(folder)
    assert run.status is Status.DAMAGED
    assert message in run.reason
    assert not run.curves


def test_timing_is_no_result(make_study):
    folder = make_study(arms={"vanilla": "vanilla"}, seeds=[0])
    with (folder / "vanilla/seed-0/timing.jsonl").open("a") as file:
        file.write("?\n")
    run = only_run(folder)
    assert (run.status, run.steps_per_second) == (Status.COMPLETED, None)
    assert run.timing_damage.startswith("timing.jsonl, line 7 is not JSON")
    text = report.write([folder]).index.read_text()
    assert "The run finished." in text
    assert f"<small>{run.timing_damage}</small>" in text


GOOD, CUT = STATE, STATE[:-1]
FLIPPED = b"X" + STATE[1:]


@pytest.mark.parametrize("end", ["unfinished", "failed"])
@pytest.mark.parametrize(
    ("states", "reasons"),
    [
        ({"state.pt": FLIPPED, "state.prev.pt": CUT}, ("state.pt is damaged", "state.prev.pt is cut short")),
        ({"state.pt": b""}, ("state.pt is cut short",)),
        ({"state.pt": CUT, "state.prev.pt": GOOD}, ()),
        ({"state.pt": GOOD, "state.prev.pt": CUT}, ()),
        ({"state.prev.pt": GOOD}, ()),
        ({}, ()),
    ],
)
def test_a_run_that_cannot_go_on_is_damaged(make_study, end, states, reasons):
    folder = make_study(seeds=[0], ends={("vanilla", 0): end})
    (folder / "vanilla/seed-0/state.pt").unlink()
    for name, content in states.items():
        (folder / "vanilla/seed-0" / name).write_bytes(content)
    run = only_run(folder)
    assert run.status.value == ("damaged" if reasons else end)
    assert all(reason in run.reason for reason in reasons)


def test_a_line_still_being_written_is_no_damage(make_study):
    folder = make_study(seeds=[0], ends={("vanilla", 0): "unfinished"})
    with (folder / "vanilla/seed-0/metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "st')
    run = only_run(folder)
    assert (run.status, run.epochs) == (Status.UNFINISHED, 3)


def test_a_line_cut_off_after_the_end_is_damage(make_study):
    folder = make_study(seeds=[0])
    path = folder / "vanilla/seed-0/metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert "line 6 is cut off" in only_run(folder).reason


def test_a_copied_run_does_not_pass_for_another_seed(make_study):
    folder = make_study(seeds=[0, 1])
    shutil.rmtree(folder / "vanilla/seed-0")
    shutil.copytree(folder / "vanilla/seed-1", folder / "vanilla/seed-0")
    assert "spec.json belongs to another run: seed must be 0, got 1" in only_run(folder).reason
