"""The adding problem: two marks, one in each half, and the sum of what they mark."""

import pytest
import torch

from bptt import tasks


@pytest.fixture(scope="module")
def task() -> tasks.Task:
    return tasks.adding(30, train_size=20_000, valid_size=500, test_size=400)


@pytest.mark.parametrize("length", [2, 3, 30, 101])
def test_one_mark_in_each_half_and_their_sum(length: int) -> None:
    task = tasks.adding(length, train_size=2000, valid_size=1, test_size=1)
    x, y, _ = task.batch("train", torch.arange(2000))
    assert x.shape == (length, 2000, 2)
    assert x.dtype == y.dtype == torch.float32
    assert x.is_contiguous()
    numbers, marks = x.unbind(-1)
    half = length // 2
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert set(marks.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(marks[:half].sum(0), torch.ones(2000))
    assert torch.equal(marks[half:].sum(0), torch.ones(2000))
    assert (marks.sum(1) > 0).all()  # every step is marked now and then
    assert torch.allclose((numbers * marks).sum(0), y)


def test_what_it_asks_of_a_model(task: tasks.Task) -> None:
    assert (task.steps, task.input_size, task.output_size, task.readout) == (30, 2, 1, "last")
    assert task.sizes == {"train": 20_000, "valid": 500, "test": 400}


def test_the_default_sizes() -> None:
    assert tasks.adding(2).sizes == {"train": 100_000, "valid": 10_000, "test": 10_000}


def test_chance_is_what_answering_one_scores(task: tasks.Task) -> None:
    batch = task.batch("train", torch.arange(20_000))
    scores = task.metrics(torch.ones(20_000, 1), batch)
    measured = {name: (total / count).item() for name, (total, count) in scores.items()}
    assert task.chance() == pytest.approx({"loss": 1 / 6, "accuracy": 0.0784})
    assert measured == pytest.approx(task.chance(), rel=0.05)
    assert task.loss(torch.ones(20_000, 1), batch).item() == pytest.approx(measured["loss"], rel=1e-5)


def test_accuracy_is_the_share_within_four_hundredths(task: tasks.Task) -> None:
    batch = task.batch("valid", torch.arange(4))
    output = batch.y + torch.tensor([0.0, 0.039, -0.039, 0.041])
    correct, count = task.metrics(output.unsqueeze(-1), batch)["accuracy"]
    assert (correct.item(), count) == (3, 4)


def test_a_double_precision_output_keeps_its_precision(task: tasks.Task) -> None:
    batch = task.batch("valid", torch.arange(3))
    output = (batch.y.double() + 1e-6).unsqueeze(-1).requires_grad_()
    loss = task.loss(output, batch)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(1e-12, rel=1e-3)
    loss.backward()
    assert output.grad is not None


def test_splits_are_different_sequences_and_the_seed_makes_them(task: tasks.Task) -> None:
    first, held_out = (task.batch(split, torch.arange(100)).x for split in ("train", "valid"))
    other = tasks.adding(30, train_size=100, seed=1).batch("train", torch.arange(100)).x
    again = tasks.adding(30, train_size=20_000).batch("train", torch.arange(100)).x
    assert not torch.equal(first, held_out)
    assert not torch.equal(first, other)
    assert torch.equal(first, again)


def test_all_bad_arguments_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"length must be a whole number ≥ 2, got 1; .*seed .* got -1"):
        tasks.adding(1, seed=-1)


def test_an_output_of_another_shape_is_refused(task: tasks.Task) -> None:
    batch = task.batch("valid", torch.arange(4))
    for output in (torch.zeros(4), torch.zeros(30, 4, 1), torch.zeros(5, 1)):
        for score in (task.loss, task.metrics):
            with pytest.raises(ValueError, match=r"output must have shape \(B, O\) = \(4, 1\), got \("):
                score(output, batch)
