"""The copying task is the papers', step by step, and its chance level is what a memoryless model scores."""

import math

import pytest
import torch

from bptt import tasks


@pytest.fixture(scope="module")
def task() -> tasks.Task:
    return tasks.copying(30)


@pytest.mark.parametrize("delay", [1, 2, 30, 100])
def test_a_sequence_is_the_papers(delay: int) -> None:
    task = tasks.copying(delay, train_size=50, valid_size=20)
    x, y, lengths = task.batch("train", torch.arange(50))
    assert task.steps == delay + 20
    assert lengths is None
    assert x.shape == (delay + 20, 50, 1)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    assert y.shape == (delay + 20, 50)
    assert y.dtype == torch.int64
    tokens = x.squeeze(-1)
    symbols, blanks, delimiter, recall = tokens.split((10, delay - 1, 1, 10))
    assert set(symbols.unique().tolist()) == set(range(1, 9))
    assert (blanks == 0).all()
    assert (delimiter == 9).all()
    assert (recall == 0).all()
    assert (y[: delay + 10] == 0).all()
    assert torch.equal(y[-10:], symbols.long())


def test_the_published_numbers(task: tasks.Task) -> None:
    assert task.sizes == {"train": 100_000, "valid": 5_000}
    assert (task.input_size, task.output_size, task.readout, task.vocabulary) == (1, 9, "each", None)
    assert task.iterations(100) == 1000
    order = task.train_indices(1, 100, seed=3)
    assert len(order) == 1000
    assert all(indices.shape == (100,) for indices in order)


def test_symbols_are_uniform(task: tasks.Task) -> None:
    symbols = task.batch("train", torch.arange(100_000)).y[-10:]
    shares = torch.bincount(symbols.flatten(), minlength=10) / 1e6
    assert shares[0] == shares[9] == 0
    assert (shares[1:9] - 1 / 8).abs().max() < 5 * math.sqrt(1 / 8 * 7 / 8 / 1e6)


def test_onehot_is_the_same_sequences_in_ten_inputs(task: tasks.Task) -> None:
    onehot = tasks.copying(30, encoding="onehot")
    indices = torch.tensor([5, 99_999, 5])
    scalar, wide = task.batch("train", indices), onehot.batch("train", indices)
    assert onehot.input_size == 10
    assert wide.x.shape == (50, 3, 10)
    assert wide.x.dtype == torch.float32
    assert torch.equal(wide.x.sum(-1), torch.ones(50, 3))
    assert torch.equal(wide.x.argmax(-1), scalar.x.squeeze(-1).long())
    assert torch.equal(wide.y, scalar.y)


def test_held_out_sequences_are_others_and_do_not_depend_on_the_training_set(task: tasks.Task) -> None:
    train = {tuple(s) for s in task.batch("train", torch.arange(100_000)).y[-10:].T.tolist()}
    valid = {tuple(s) for s in task.batch("valid", torch.arange(5_000)).y[-10:].T.tolist()}
    assert len(train & valid) < 10  # 8¹⁰ sequences: about 0.5 are shared by chance
    smaller = tasks.copying(30, train_size=10)
    assert torch.equal(smaller.batch("valid", torch.arange(99)).y, task.batch("valid", torch.arange(99)).y)


def test_the_seed_makes_the_sequences_and_the_delay_does_not() -> None:
    everything = torch.arange(100)
    first = tasks.copying(5, train_size=100, seed=0).batch("train", everything).y[-10:]
    longer = tasks.copying(50, train_size=100, seed=0).batch("train", everything).y[-10:]
    other = tasks.copying(5, train_size=100, seed=1).batch("train", everything).y[-10:]
    assert torch.equal(first, longer)
    assert (first != other).float().mean() > 0.8


def test_batches_are_drawn_with_replacement(task: tasks.Task) -> None:
    drawn = torch.cat(task.train_indices(1, 100, seed=0))
    assert drawn.min() >= 0
    assert drawn.max() < 100_000
    # 100,000 draws with replacement miss a share 1/e of 100,000 sequences.
    assert len(drawn.unique()) / 1e5 == pytest.approx(1 - 1 / math.e, abs=0.01)


def test_a_short_epoch_for_small_profiles() -> None:
    task = tasks.copying(5, train_size=1000, iterations=7)
    assert task.iterations(32) == 7
    assert [len(indices) for indices in task.train_indices(1, 32, seed=0)] == [32] * 7


@pytest.mark.parametrize("delay", [1, 100, 300])
def test_chance_is_what_a_memoryless_model_scores(delay: int) -> None:
    """The model: at each step the class shares of the training targets, whatever the input."""
    task = tasks.copying(delay)
    targets = task.batch("train", torch.arange(20_000)).y
    shares = torch.nn.functional.one_hot(targets, 9).double().mean(1)
    held_out = task.batch("valid", torch.arange(5_000))
    output = shares.log().clamp(min=-100.0).unsqueeze(1).expand(-1, 5_000, -1)
    chance = task.chance()
    assert chance == pytest.approx({"loss": 10 * math.log(8) / (delay + 20), "accuracy": 1 / 8})
    assert task.loss(output, held_out).item() == pytest.approx(chance["loss"], rel=1e-3)
    correct, count = task.metrics(output, held_out)["accuracy"]
    assert count == 50_000
    assert correct.item() / count == pytest.approx(
        chance["accuracy"], abs=5 * math.sqrt(1 / 8 * 7 / 8 / count)
    )


def test_accuracy_counts_the_last_ten_steps_alone(task: tasks.Task) -> None:
    batch = task.batch("valid", torch.arange(40))
    perfect = torch.nn.functional.one_hot(batch.y, 9).float() * 50
    wrong_before = perfect.clone()
    wrong_before[:-10] = perfect[:-10].roll(1, dims=-1)
    wrong_once = perfect.clone()
    wrong_once[-1, 0] = perfect[-1, 0].roll(1)

    def accuracy(output: torch.Tensor) -> float:
        correct, count = task.metrics(output, batch)["accuracy"]
        return correct.item() / count

    assert accuracy(perfect) == accuracy(wrong_before) == 1
    assert accuracy(wrong_once) == pytest.approx(1 - 1 / 400)
    assert task.loss(perfect, batch) < 1e-9
    assert task.loss(wrong_before, batch).item() == pytest.approx(50 * 40 / 50, rel=1e-6)


def test_the_loss_is_the_mean_over_all_steps(task: tasks.Task) -> None:
    batch = task.batch("valid", torch.arange(4))
    output = torch.linspace(-1, 1, 50 * 4 * 9, dtype=torch.float64).sin().view(50, 4, 9)
    chosen = output.log_softmax(-1).gather(-1, batch.y.unsqueeze(-1))
    assert task.loss(output, batch).item() == pytest.approx(-chosen.mean().item(), abs=1e-12)


def test_all_bad_arguments_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="delay must be a whole number ≥ 1, got 0") as caught:
        tasks.copying(0, encoding="binary", train_size=True, iterations=2.5)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "encoding must be one of 'scalar', 'onehot', got 'binary'" in message
    assert "train_size must be a whole number ≥ 1, got True" in message
    assert "iterations must be a whole number ≥ 1, got 2.5" in message
    assert "valid_size" not in message


def test_an_output_of_another_shape_is_refused(task: tasks.Task) -> None:
    batch = task.batch("valid", torch.arange(4))
    for output in (torch.zeros(4, 50, 9), torch.zeros(50, 4, 8), torch.zeros(4, 9)):
        for score in (task.loss, task.metrics):
            with pytest.raises(
                ValueError, match=r"output must have shape \(T, B, O\) = \(50, 4, 9\), got \("
            ):
                score(output, batch)
