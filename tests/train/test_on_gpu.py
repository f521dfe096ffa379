"""Replicas on a GPU: stacked, recorded in CUDA graphs."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from helpers.replicas import KINDS, LONG, alone, assert_equal_to_rounding, build, every, placed, together

from bptt import tasks, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(autouse=True)
def as_users_have_it():
    # What is deterministic by torch's switch may wait for the device, which a recording cannot.
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(True)


def on_gpu(*given, **settings):
    return [replace(one, model=one.model.cuda()) for one in build(*given, **settings)]


@pytest.mark.parametrize(("precision", "rtol"), [("float32", 1e-5), ("float64", 1e-10), ("tf32", 1e-2)])
def test_a_run_among_others_is_the_run_alone_after_a_hundred_updates(tmp_path, precision, rtol):
    settings = {**LONG, "precision": precision}
    alone(tmp_path / "alone", on_gpu(**settings))
    together(tmp_path / "stacked", on_gpu(**settings))
    assert_equal_to_rounding(tmp_path / "alone", tmp_path / "stacked", 5, rtol)
    assert train.read_spec(tmp_path / "stacked/0")["environment"]["replicas"] == "stacked"


def test_bfloat16_is_near(tmp_path):
    settings = {"precision": "bf16-mixed", "epochs": 2}
    alone(tmp_path / "alone", on_gpu(KINDS[:3], **settings))
    together(tmp_path / "stacked", on_gpu(KINDS[:3], **settings))
    assert_equal_to_rounding(tmp_path / "alone", tmp_path / "stacked", 3, 0.05)


def test_stopped_replicas_go_on_where_they_were(tmp_path):
    together(tmp_path / "undisturbed", on_gpu())
    asked = []

    def stop(index, progress):
        if progress.step >= 5 and not asked:
            asked.append(index)
            os.kill(os.getpid(), signal.SIGINT)

    endings = train.fit_replicas(placed(on_gpu(), tmp_path / "stopped"), observe=stop)
    assert any(isinstance(ending, train.Interrupted) for ending in endings)
    together(tmp_path / "stopped", on_gpu())
    assert every(tmp_path / "undisturbed", 5) == every(tmp_path / "stopped", 5)


def test_more_than_fit_are_refused_with_the_bytes_and_the_number_that_fits(tmp_path):
    free, _ = torch.cuda.mem_get_info()
    size = 1024
    steps = free // (size * 64 * 4 * 4 * 3) or 1  # so long that a handful fill the memory
    task = tasks.copying(max(steps, 1000), train_size=size, valid_size=1, iterations=1)
    kinds = [{"seed": seed, "task": task, "batch_size": size, "anneal_epochs": 0} for seed in range(20)]
    replicas = on_gpu(kinds, epochs=1)
    endings = train.fit_replicas(placed(replicas, tmp_path))
    assert {type(ending) for ending in endings} == {train.ReplicasMemoryError}
    assert endings[0].needed is None or endings[0].needed > endings[0].free
    assert endings[0].fit is None or endings[0].fit < 20
    fits = placed(on_gpu(kinds[: endings[0].fit or 1], epochs=1), tmp_path)
    assert endings[0].fit == 0 or not isinstance(train.fit_replicas(fits)[0], BaseException)


def test_models_on_two_devices_are_refused(tmp_path):
    mixed = placed([*build(KINDS[:1]), *on_gpu(KINDS[1:2])], tmp_path / "new")
    with pytest.raises(ValueError, match="the same device, got cpu for the first and cuda:0"):
        train.fit_replicas(mixed)
    assert not (tmp_path / "new").exists()
