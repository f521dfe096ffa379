"""Data is found where it was said to be, then in $BPTT_DATA, then in the cache."""

import gzip
from pathlib import Path

import pytest

from bptt.tasks import data

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


def lay(folder: Path, suffix: str = ".gz", files: list[str] = FILES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / f"{file}{suffix}").touch()
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data of the machine's user is in sight."""
    monkeypatch.delenv("BPTT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("layout", [".", "mnist", "MNIST/raw", "raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_usual_folders(layout: str, suffix: str, tmp_path: Path) -> None:
    folder = lay(tmp_path / "d" / layout, suffix)
    assert data.find("mnist", tmp_path / "d") == {file: folder / f"{file}{suffix}" for file in FILES}


def test_a_plain_file_is_preferred(tmp_path: Path) -> None:
    lay(tmp_path)
    lay(tmp_path, "", FILES[:1])
    found = data.find("mnist", tmp_path)
    assert [path.suffix for path in found.values()] == ["", ".gz", ".gz", ".gz"]


def test_the_order_of_places(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached, named, told = (lay(home / place / "mnist") for place in ("cache/bptt", "env", "told"))
    assert data.find("mnist")[FILES[0]].parent == cached
    monkeypatch.setenv("BPTT_DATA", str(home / "env"))
    assert data.find("mnist")[FILES[0]].parent == named
    assert data.find("mnist", home / "told")[FILES[0]].parent == told
    assert data.find("mnist", str(home / "told"))[FILES[0]].parent == told
    monkeypatch.setenv("BPTT_DATA", str(home / "nothing"))
    assert data.find("mnist")[FILES[0]].parent == cached


def test_a_folder_that_was_named_is_the_only_one(home: Path) -> None:
    lay(home / "cache/bptt/mnist")
    with pytest.raises(
        FileNotFoundError, match=r"looked in /nowhere/at/all \(no such folder\); `bptt data fetch mnist`"
    ):
        data.find("mnist", "/nowhere/at/all")


def test_the_cache_without_xdg_is_under_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(home))
    assert data.roots() == [home / ".cache" / "bptt"]
    assert data.roots("~/d") == [home / "d"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    lay(tmp_path / "mnist", files=FILES[:2])
    with pytest.raises(FileNotFoundError) as caught:
        data.find("mnist", tmp_path)
    message = str(caught.value)
    assert f"{tmp_path / 'mnist'} lacks t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte" in message
    assert f"looked in {tmp_path};" in message


def test_files_are_not_gathered_from_two_folders(tmp_path: Path) -> None:
    lay(tmp_path / "mnist", files=FILES[:2])
    lay(tmp_path / "raw", files=FILES[2:])
    with pytest.raises(FileNotFoundError, match="lacks t10k"):
        data.find("mnist", tmp_path)


def test_an_unknown_data_set(tmp_path: Path) -> None:
    for ask in (data.find, data.fetch):
        with pytest.raises(ValueError, match="the data set must be one of mnist, got 'cifar'"):
            ask("cifar", tmp_path)
    with pytest.raises(ValueError, match="the data set must be one of mnist, got 'cifar'"):
        data.check(tmp_path, "cifar")


def test_torchvision_s_layout_is_read(mnist_folder: Path, tmp_path: Path) -> None:
    """As torchvision leaves it: MNIST/raw/ with plain files beside the .gz, here with two .gz removed."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in sorted(mnist_folder.iterdir()):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        if "train" in file.name:
            (raw / file.name).symlink_to(file)
    mnist = data.load_mnist(tmp_path)
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_labels[:4].tolist() == [7, 2, 1, 0]
    check = data.check(tmp_path)
    assert check.ok
    assert check.folder == raw
    assert len(check.files) == 6
