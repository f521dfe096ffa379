"""What every task promises: pure orders and batches, a hash that sees all its data, honest descriptions."""

import json
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bptt import tasks

MAKERS: dict[str, Callable[[], tasks.Task]] = {
    "copying": lambda: tasks.copying(5, train_size=300, valid_size=70, iterations=4),
    "copying-onehot": lambda: tasks.copying(
        5, encoding="onehot", train_size=300, valid_size=70, iterations=4
    ),
    "adding": lambda: tasks.adding(9, train_size=310, valid_size=70, test_size=30),
    "smnist-5k": lambda: tasks.smnist_5k(resize=7),
    "pmnist-5k": lambda: tasks.pmnist_5k(resize=7, rows=True),
}


@pytest.fixture(scope="module", params=MAKERS)
def task(request: pytest.FixtureRequest) -> tasks.Task:
    return MAKERS[request.param]()


def any_output(task: tasks.Task, size: int) -> Tensor:
    shape = (task.steps, size, task.output_size) if task.readout == "each" else (size, task.output_size)
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).sin().view(shape)


def test_the_order_depends_on_nothing_but_its_arguments(task: tasks.Task) -> None:
    first = task.train_indices(3, 32, seed=5)
    torch.manual_seed(99)
    task.train_indices(1, 32, seed=0)
    list(task.batches("train", 50))
    again = task.train_indices(3, 32, seed=5)
    torch.manual_seed(7)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(first) == task.iterations(32)
    assert not torch.equal(first[0], task.train_indices(4, 32, seed=5)[0])
    assert not torch.equal(first[0], task.train_indices(3, 32, seed=6)[0])


def test_made_twice_it_is_the_same_task(task: tasks.Task) -> None:
    again = tasks.make(task.name, **task.arguments)
    assert again.fingerprint() == task.fingerprint()
    assert repr(again) == repr(task)
    indices = torch.tensor([3, 0, 3])
    for split in task.sizes:
        one, other = task.batch(split, indices), again.batch(split, indices)
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)


def test_batches_walk_a_split_in_order(task: tasks.Task) -> None:
    for split, size in task.sizes.items():
        parts = list(task.batches(split, 64))
        whole = task.batch(split, torch.arange(size))
        assert [part.x.shape[1] for part in parts] == [64] * (size // 64) + [size % 64] * (size % 64 > 0)
        assert torch.equal(torch.cat([part.x for part in parts], dim=1), whole.x)
        assert torch.equal(torch.cat([part.y for part in parts], dim=-1), whole.y)


def test_x_has_the_promised_shape(task: tasks.Task) -> None:
    x = task.batch("valid", torch.arange(6)).x
    assert x.shape == (task.steps, 6, task.input_size)
    assert x.is_contiguous()
    assert x.dtype == torch.float32


def test_metrics_of_parts_add_up_to_the_loss_of_the_whole(task: tasks.Task) -> None:
    output = any_output(task, 70)
    whole = task.batch("valid", torch.arange(70))
    parts = [(output[..., :33, :], torch.arange(33)), (output[..., 33:, :], torch.arange(33, 70))]
    scores = [task.metrics(part, task.batch("valid", indices)) for part, indices in parts]
    for name in ("loss", "accuracy"):
        total = sum(score[name][0].item() for score in scores) / sum(score[name][1] for score in scores)
        together, count = task.metrics(output, whole)[name]
        assert total == pytest.approx(together.item() / count, rel=1e-5)
    assert task.metrics(output, whole)["loss"][0].item() == pytest.approx(
        task.loss(output, whole).item() * task.metrics(output, whole)["loss"][1], rel=1e-5
    )
    assert set(task.chance()) == set(scores[0])


def test_the_loss_has_a_gradient_and_metrics_have_none(task: tasks.Task) -> None:
    output = any_output(task, 4).requires_grad_()
    batch = task.batch("valid", torch.arange(4))
    loss = task.loss(output, batch)
    assert loss.shape == ()
    loss.backward()
    assert output.grad is not None
    assert output.grad.abs().sum() > 0
    assert not any(total.requires_grad for total, _ in task.metrics(output, batch).values())


def test_a_description_is_json_and_complete(task: tasks.Task) -> None:
    description = task.describe()
    assert json.loads(json.dumps(description)) == description
    assert description["name"] == task.name
    assert description["fingerprint"] == task.fingerprint()
    assert description["sizes"] == task.sizes
    assert description["chance"] == task.chance()
    assert description["steps"] == task.steps
    assert tasks.make(description["name"], **description["arguments"]).fingerprint() == task.fingerprint()


def test_moving_leaves_the_task_behind_as_it_was(task: tasks.Task) -> None:
    moved = task.to("meta")
    assert task.device == torch.device("cpu")
    assert moved.device == torch.device("meta")
    for split in moved.sizes:
        batch = moved.batch(split, torch.arange(4))
        assert batch.x.device.type == batch.y.device.type == "meta"
        assert batch.x.shape == (task.steps, 4, task.input_size)
    assert all(indices.device.type == "meta" for indices in moved.train_indices(1, 32, seed=0))
    assert all(batch.x.device.type == "meta" for batch in moved.batches("valid", 50))
    assert task.batch("valid", torch.arange(4)).x.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_sees_the_same_bits(task: tasks.Task) -> None:
    moved = task.to("cuda")
    assert moved.fingerprint() == task.fingerprint()
    for here, there in zip(
        task.train_indices(1, 32, seed=0), moved.train_indices(1, 32, seed=0), strict=True
    ):
        assert torch.equal(here, there.cpu())
        one, other = task.batch("train", here), moved.batch("train", there)
        assert torch.equal(one.x, other.x.cpu())
        assert torch.equal(one.y, other.y.cpu())


@pytest.mark.parametrize(
    ("changed", "arguments"),
    [
        ("delay", {"delay": 6}),
        ("encoding", {"encoding": "onehot"}),
        ("seed", {"seed": 1}),
        ("train_size", {"train_size": 301}),
        ("valid_size", {"valid_size": 71}),
    ],
)
def test_the_fingerprint_changes_with_the_data(changed: str, arguments: dict[str, object]) -> None:
    base = {"delay": 5, "train_size": 300, "valid_size": 70}
    assert (
        tasks.make("copying", **base | arguments).fingerprint() != tasks.make("copying", **base).fingerprint()
    )


def test_the_fingerprint_leaves_out_how_long_an_epoch_is() -> None:
    short, long = (tasks.copying(5, train_size=9, iterations=n).fingerprint() for n in (1, 2))
    assert short == long


def test_the_fingerprint_of_generated_tasks_never_changes() -> None:
    assert (
        tasks.copying(100).fingerprint() == "85a233719090b3f9f8b4be05dcb33dfc3c3a0aa54ba084412924e0477a76db36"
    )
    assert (
        tasks.adding(100).fingerprint() == "8ccca3678d3c5b9aff6f1526fbb50adc9853cc1b4674c88d261806959084b968"
    )


class OneNumber(tasks.Task):
    """The smallest task: repeat a number."""

    def __init__(self, values: Tensor) -> None:
        super().__init__(
            name="one-number",
            description="Repeat a number",
            source="this test",
            arguments={},
            steps=1,
            input_size=1,
            output_size=1,
            readout="last",
            sizes={"train": len(values), "valid": len(values)},
            tensors={"values": values},
        )

    def _batch(self, split: str, indices: Tensor) -> tasks.Batch:  # noqa: ARG002
        values = self._tensors["values"].index_select(0, indices)
        return tasks.Batch(values.view(1, -1, 1), values)

    def loss(self, output: Tensor, batch: tasks.Batch) -> Tensor:
        return (output.squeeze(-1) - batch.y).abs().mean()

    def metrics(self, output: Tensor, batch: tasks.Batch) -> dict[str, tuple[Tensor, int]]:
        return {"loss": ((output.detach().squeeze(-1) - batch.y).abs().sum(), len(batch.y))}

    def chance(self) -> dict[str, float]:
        return {"loss": 1.0}


def test_the_fingerprint_sees_every_element_its_type_and_its_place() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    others = [
        torch.tensor([1.0, 2.0, 3.0, 4.5]),
        torch.tensor([2.0, 1.0, 3.0, 4.0]),
        torch.tensor([1, 2, 3, 4]),
        torch.tensor(values, dtype=torch.float64),
        torch.tensor(values[:3]),
    ]
    hashes = {OneNumber(tensor).fingerprint() for tensor in [torch.tensor(values), *others]}
    assert len(hashes) == 6
    assert OneNumber(torch.tensor(values)).fingerprint() in hashes
    strided = torch.tensor([[one, -one] for one in values])[:, 0]
    assert OneNumber(strided).fingerprint() in hashes


def test_a_split_that_is_not_there_is_named() -> None:
    task = tasks.copying(5, train_size=9)
    for ask in (lambda: task.batch("test", torch.arange(1)), lambda: task.batches("test", 3)):
        with pytest.raises(ValueError, match="copying: split must be one of train, valid, got 'test'"):
            ask()


def test_an_index_out_of_range_is_an_error(task: tasks.Task) -> None:
    size = task.sizes["train"]
    for indices, got in ([0, size], f"0 to {size}"), ([-1, 2], "-1 to 2"):
        rule = f"{task.name}: indices must satisfy 0 <= index < {size}, the size of 'train', "
        with pytest.raises(IndexError, match=re.escape(f"{rule}got values from {got}")):
            task.batch("train", torch.tensor(indices))


def test_indices_of_another_kind_are_refused(task: tasks.Task) -> None:
    for indices, got in (
        (torch.tensor([0.0]), "torch.float32"),
        (torch.tensor([True]), "torch.bool"),
        ([0], "list"),
    ):
        with pytest.raises(TypeError, match=f"indices must be a tensor of int64 or int32, got {got}"):
            task.batch("train", indices)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"indices must have shape \(B,\), got \(1, 2\)"):
        task.batch("train", torch.tensor([[0, 1]]))
    x = task.batch("train", torch.tensor([2, 0], dtype=torch.int32)).x
    assert torch.equal(x, task.batch("train", torch.tensor([2, 0])).x)


def test_bad_orders_are_refused(task: tasks.Task) -> None:
    with pytest.raises(
        ValueError, match=r"epoch must .* got -1; batch_size must .* got 0; seed must .* got 1.5"
    ):
        task.train_indices(-1, 0, 1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="epoch must be a whole number ≥ 0 and < 4294967296, got 4294967296"):
        task.train_indices(2**32, 1, 0)
    for ask in (task.iterations, lambda size: task.batches("valid", size)):
        with pytest.raises(ValueError, match="batch_size must be a whole number ≥ 1, got 0"):
            ask(0)


@pytest.mark.parametrize("setting", ["float64", "meta"])
def test_torchs_defaults_change_no_task(setting):
    def prints():
        made = [
            tasks.copying(5, train_size=20, valid_size=5),
            tasks.adding(6, train_size=20),
            tasks.pmnist_5k(resize=4),
        ]
        return [(task.fingerprint(), task.train_indices(1, 10, 0)[0].tolist()) for task in made]

    expected = prints()
    if setting == "meta":
        with torch.device("meta"):
            assert prints() == expected
    else:
        torch.set_default_dtype(torch.float64)
        try:
            assert prints() == expected
        finally:
            torch.set_default_dtype(torch.float32)


def test_losses_of_sequences_or_steps_average_to_the_loss(task: tasks.Task) -> None:
    batch = task.batch("valid", torch.arange(6))
    output = any_output(task, 6).requires_grad_()
    losses = task.losses(output, batch)
    assert losses.shape == ((task.steps, 6) if task.readout == "each" else (6,))
    torch.testing.assert_close(losses.mean(), task.loss(output, batch))
    (gradient,) = torch.autograd.grad(losses[..., 2].sum(), output)
    others = gradient.movedim(1 if task.readout == "each" else 0, 0)[[0, 1, 3, 4, 5]]
    assert (others == 0).all()
    with pytest.raises(ValueError, match="output must have shape"):
        task.losses(output[:-1], batch)


def test_an_image_is_one_only_pixel_by_pixel_in_order() -> None:
    assert tasks.smnist_5k(resize=7).image == (7, 7)
    assert tasks.smnist_5k(resize=7, rows=True).image is None
    assert tasks.pmnist_5k(resize=7).image is None
    assert MAKERS["copying"]().image is None
