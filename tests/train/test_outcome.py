"""What done.json says is believed only while it and the files beside it are as the run wrote them."""

import hashlib
import json
import shutil

import pytest
import safetensors.torch
from helpers import runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bptt import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    runs.fit(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def sealed(page):
    """done.json as the contract describes it, written independently of the package."""
    text = json.dumps(page, sort_keys=True, separators=(",", ":"))
    return json.dumps(page | {"sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def written(folder):
    page = json.loads((folder / "done.json").read_bytes())
    del page["sha256"]
    return page


def test_done_json_ends_with_the_sha256_of_the_rest_in_canonical_json(copy):
    page = json.loads((copy / "done.json").read_bytes())
    assert list(page)[-1] == "sha256"
    assert json.loads(sealed(written(copy))) == page
    before = train.read_outcome(copy)
    (copy / "done.json").write_bytes(sealed(written(copy)))
    assert train.read_outcome(copy) == train.verify_outcome(copy) == before


@pytest.mark.parametrize("read", [train.read_outcome, train.verify_outcome, runs.fit])
def test_an_edited_number_is_not_believed(copy, read):
    page = json.loads((copy / "done.json").read_bytes())
    page["test"]["loss"] /= 2
    (copy / "done.json").write_text(json.dumps(page))
    with pytest.raises(train.RunError, match=r"done\.json is damaged: its sha256 is not that of"):
        read(copy)


def test_a_done_json_without_its_sha256_is_damaged(copy):
    (copy / "done.json").write_text(json.dumps(written(copy)))
    with pytest.raises(train.RunError, match=r"done\.json is damaged: it must have the keys .*sha256"):
        train.read_outcome(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "finished"),
        ("status", ["completed"]),
        ("epoch", "3"),
        ("epoch", -1),
        ("step", True),
        ("step", 1.5),
        ("best", {"epoch": 2}),
        ("best", {"epoch": None, "valid": {}}),
        ("best", [2, 0.5]),
        ("test", {"loss": "low"}),
        ("test", 0.5),
        ("metrics_sha256", None),
        ("weights_sha256", "abc"),
        ("environment_changed", 0),
        ("non_finite", [1]),
    ],
)
def test_a_key_of_another_type_is_damage_even_under_a_right_sha256(copy, key, value):
    (copy / "done.json").write_bytes(sealed(written(copy) | {key: value}))
    with pytest.raises(train.RunError, match=rf"done\.json is damaged: {key} must be "):
        train.read_outcome(copy)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happens_to_done_json_only_a_run_error_comes_of_it(finished, tmp_path, data):
    whole = (finished / "done.json").read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.integers(0, 3))
    changed = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + length :]
    (tmp_path / "done.json").write_bytes(changed)
    if said_of(changed) == said_of(whole):  # only white space differs
        assert train.read_outcome(tmp_path).test == train.read_outcome(finished).test
    else:
        with pytest.raises(train.RunError, match=r"done\.json is damaged"):
            train.read_outcome(tmp_path)


def said_of(data):
    try:
        return json.dumps(json.loads(data))
    except ValueError:
        return None


def test_a_done_json_that_cannot_be_read_at_all_is_named(copy):
    (copy / "done.json").write_text("[" * 100_000)
    with pytest.raises(train.RunError, match=r"done\.json is damaged"):
        train.read_outcome(copy)
    (copy / "done.json").unlink()
    (copy / "done.json").mkdir()
    with pytest.raises(train.RunError, match=r"done\.json cannot be read: Is a directory"):
        train.read_outcome(copy)


def test_a_run_that_has_not_ended_has_no_outcome(copy):
    (copy / "done.json").unlink()
    assert train.verify_outcome(copy) is None


@pytest.mark.parametrize("name", ["metrics.jsonl", "weights.safetensors"])
def test_files_that_are_missing_or_changed_are_named(copy, name):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for read in (train.verify_outcome, runs.fit):
        with pytest.raises(train.RunError, match=rf"{name} is damaged: its sha256 is not that of done\.json"):
            read(copy)
    (copy / name).unlink()
    for read in (train.verify_outcome, runs.fit):
        with pytest.raises(train.RunError, match=rf"{name} is missing"):
            read(copy)
    assert train.read_outcome(copy).status == "completed", "what done.json itself says can still be read"


def test_a_best_that_metrics_do_not_tell_of_is_damage(copy):
    page = written(copy)
    valid = page["best"]["valid"]
    for best in ({"epoch": 9, "valid": valid}, page["best"] | {"valid": valid | {"loss": 0.0}}):
        (copy / "done.json").write_bytes(sealed(page | {"best": best}))
        with pytest.raises(train.RunError, match=r"done\.json is damaged: best must be an epoch of metrics"):
            train.verify_outcome(copy)


def test_metrics_whose_lines_are_no_objects_are_damage(copy):
    (copy / "metrics.jsonl").write_bytes(b"[1]\n")
    digest = hashlib.sha256(b"[1]\n").hexdigest()
    (copy / "done.json").write_bytes(sealed(written(copy) | {"metrics_sha256": digest}))
    with pytest.raises(train.RunError, match=r"metrics\.jsonl is damaged: line 1 must be a JSON object"):
        train.verify_outcome(copy)


def test_a_run_that_ended_in_its_first_epoch_needs_no_weights(tmp_path):
    # A step of this size leaves no finite number.
    outcome = runs.fit(tmp_path, optimizer="sgd", lr=1e30, clip_norm="none")
    assert outcome.status.startswith("non-finite")
    assert outcome.best is None
    assert repr(train.verify_outcome(tmp_path)) == repr(outcome)  # nan is not nan


def test_the_exported_weights_give_the_recorded_metrics(copy):
    outcome = train.verify_outcome(copy)
    model = runs.build()
    model.load_state_dict(safetensors.torch.load_file(copy / "weights.safetensors"))
    assert train.evaluate(model, runs.TASK, "valid", batch_size=7) == outcome.best["valid"]
    assert train.evaluate(model, runs.TASK, "test", batch_size=7) == outcome.test
    lines = train.read_metrics(copy)
    assert lines[outcome.best["epoch"] - 1]["valid"] == outcome.best["valid"]
    assert outcome.best["valid"]["accuracy"] == max(line["valid"]["accuracy"] for line in lines)


def test_the_end_of_another_run_is_refused(copy, tmp_path):
    runs.fit(tmp_path / "other", lr=0.02)
    for name in ("done.json", "metrics.jsonl", "weights.safetensors"):
        shutil.copy(tmp_path / "other" / name, copy / name)
    with pytest.raises(train.RunError, match=r"done\.json is another run's"):
        train.verify_outcome(copy)
