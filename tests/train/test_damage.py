"""A damaged or foreign file is refused by name, and never trained on, over, or past."""

import logging
import os
import signal

import pytest
import torch
from helpers import runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bptt import train


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    runs.fit(folder)
    return runs.results(folder)


def half_a_run(folder, step=6, **given):
    """Stop the tiny run after a step; state.prev.pt is then the end of the epoch before it."""
    with pytest.raises(train.Interrupted):
        runs.fit(
            folder,
            observe=lambda progress: progress.step == step and os.kill(os.getpid(), signal.SIGINT),
            **given,
        )
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The files of a stopped run, by name."""
    folder = half_a_run(tmp_path_factory.mktemp("stopped"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def lay_out(folder, files):
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def files_in(folder):
    """What lies in a run folder, but for what a failed attempt says of itself."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "failed.json"}


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_state_opens_with_torch_load_and_weights_only(stopped, tmp_path):
    folder = lay_out(tmp_path, stopped)
    state = torch.load(folder / "state.pt", weights_only=True)
    assert (state["epoch"], state["step"], state["epoch_step"]) == (2, 6, 2)


def damage(data):
    size = len(data)
    foreign = torch.save({"model": torch.zeros(3)}, buffer := __import__("io").BytesIO()) or buffer.getvalue()
    yield from ((f"cut to {n}", data[:n]) for n in (0, 1, 100, size // 2, size - 86, size - 85, size - 1))
    yield from (
        (f"bit {8 * n} flipped", flipped(data, 8 * n)) for n in (0, size // 3, size - 90, size - 30, size - 1)
    )
    yield "longer", data + b"\0"
    yield "another program's", foreign
    yield "no archive", b"hello"


def test_a_damaged_state_is_named_and_the_one_before_it_is_used(stopped, undisturbed, tmp_path, caplog):
    for name, data in damage(stopped["state.pt"]):
        caplog.clear()
        folder = lay_out(tmp_path / "run", stopped | {"state.pt": data})
        seen = []
        with caplog.at_level(logging.WARNING, logger="bptt.train"):
            runs.fit(folder, observe=seen.append)
        assert seen[0].resumed_at == 4, name
        assert f"{folder / 'state.pt'} is " in caplog.text, name
        assert f"resuming from {folder / 'state.prev.pt'}" in caplog.text, name
        assert runs.results(folder) == undisturbed, name
        assert (folder / "state.refused.pt").read_bytes() == data, name


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(data=st.data())
def test_no_flipped_bit_and_no_cut_goes_unnoticed(stopped, tmp_path, data):
    whole = stopped["state.pt"]
    if data.draw(st.booleans()):
        bad = flipped(whole, data.draw(st.integers(0, 8 * len(whole) - 1)))
    else:
        bad = whole[: data.draw(st.integers(0, len(whole) - 1))]
    folder = lay_out(tmp_path / "run", stopped | {"state.pt": bad, "state.prev.pt": bad})
    with pytest.raises(train.RunError, match=r"state\.pt is .*state\.prev\.pt is "):
        runs.fit(folder)


def test_the_state_of_another_run_is_refused_by_name(stopped, undisturbed, tmp_path, caplog):
    other = half_a_run(tmp_path / "other", spec={"name": "other"})
    folder = lay_out(tmp_path / "run", stopped | {"state.pt": (other / "state.pt").read_bytes()})
    runs.fit(folder)
    assert "state.pt is of another run" in caplog.text
    assert runs.results(folder) == undisturbed


def test_a_missing_state_is_made_up_for_by_the_one_before_it(stopped, undisturbed, tmp_path):
    files = {name: data for name, data in stopped.items() if name != "state.pt"}
    folder = lay_out(tmp_path, files)
    runs.fit(folder)
    assert runs.results(folder) == undisturbed


def test_with_no_good_state_both_are_named_and_nothing_is_touched(stopped, tmp_path):
    folder = lay_out(tmp_path, stopped | {"state.pt": b"", "state.prev.pt": stopped["state.prev.pt"][:-1]})
    before = files_in(folder)
    with pytest.raises(
        train.RunError, match=r"put a good copy of one of these files back, or delete"
    ) as caught:
        runs.fit(folder)
    assert f"{folder / 'state.pt'} is cut short" in str(caught.value)
    assert f"{folder / 'state.prev.pt'} is cut short" in str(caught.value)
    assert files_in(folder) == before


def test_lost_states_never_start_a_run_over(stopped, tmp_path):
    files = {name: data for name, data in stopped.items() if not name.startswith("state")}
    folder = lay_out(tmp_path, files)
    with pytest.raises(train.RunError, match=r"holds metrics.jsonl but neither state.pt nor state.prev.pt"):
        runs.fit(folder)


def test_a_state_of_another_format_is_refused(stopped, tmp_path, monkeypatch):
    from bptt.train import _state

    monkeypatch.setattr(_state, "_FORMAT", 2)
    with pytest.raises(train.RunError, match="has format 1, and this version of bptt reads format 2"):
        runs.fit(lay_out(tmp_path, stopped))


def test_the_good_state_is_not_rotated_away_by_a_damaged_one(stopped, undisturbed, tmp_path):
    folder = lay_out(tmp_path, stopped | {"state.pt": stopped["state.pt"][:-1]})
    with pytest.raises(train.Interrupted):
        runs.fit(folder, observe=lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert (folder / "state.prev.pt").read_bytes() == stopped["state.prev.pt"]
    runs.fit(folder)
    assert runs.results(folder) == undisturbed


@pytest.mark.parametrize("change", [lambda data: data[:-5], lambda data: flipped(data, 400), lambda _: b""])
def test_damaged_metrics_are_refused_by_name(stopped, tmp_path, change):
    folder = lay_out(tmp_path, stopped | {"metrics.jsonl": change(stopped["metrics.jsonl"])})
    before = files_in(folder)
    with pytest.raises(train.RunError, match=r"metrics\.jsonl is damaged"):
        runs.fit(folder)
    assert files_in(folder) == before


def test_metrics_written_after_the_checkpoint_are_cut_off(stopped, undisturbed, tmp_path):
    folder = lay_out(tmp_path, stopped | {"metrics.jsonl": stopped["metrics.jsonl"] + b'{"epoch": 2, "st'})
    assert [line["epoch"] for line in train.read_metrics(folder)] == [1]
    runs.fit(folder)
    assert runs.results(folder) == undisturbed


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("spec.json", lambda data: data.replace(b"tiny", b"tini"), "spec.json is damaged"),
        ("spec.json", lambda data: data[:50], "spec.json is damaged"),
        ("done.json", lambda data: data[:50], "done.json is damaged"),
        ("done.json", lambda _: b"{}", "done.json is damaged"),
        ("weights.safetensors", lambda data: flipped(data, 3000), "weights.safetensors is damaged"),
    ],
)
def test_other_damaged_files_are_refused_by_name(tmp_path, name, change, message):
    runs.fit(tmp_path, epochs=2)
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    with pytest.raises(train.RunError, match=message):
        runs.fit(tmp_path, epochs=2)


def test_a_finished_run_without_its_weights_says_so(tmp_path):
    runs.fit(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(train.RunError, match=r"weights\.safetensors is missing"):
        runs.fit(tmp_path)


def test_metrics_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"epoch": 1}\n{"epoch"\n{"epoch": 3}\n')
    with pytest.raises(train.RunError, match=r"metrics\.jsonl is damaged"):
        train.read_metrics(tmp_path)


def test_a_folder_that_is_no_run_is_not_read_as_one(tmp_path):
    with pytest.raises(train.RunError, match=r"is not a run folder: it has no spec\.json"):
        train.read_spec(tmp_path)
    assert train.read_outcome(tmp_path) is None
    assert train.read_failure(tmp_path) is None
    assert train.read_metrics(tmp_path) == []


def test_a_checkpoint_that_cannot_be_read_leaves_the_one_before_it(tmp_path):
    runs.fit(tmp_path / "undisturbed")
    folder = tmp_path / "run"
    runs.fit(folder)
    (folder / "done.json").unlink()
    (folder / "state.pt").unlink()
    (folder / "state.pt").mkdir()
    runs.fit(folder)
    assert runs.results(folder) == runs.results(tmp_path / "undisturbed")
