"""`fetch` brings the files that are not there, verified, and says which address failed."""

from pathlib import Path

import pytest

from bptt.tasks import data


@pytest.fixture
def mirror(server, mnist_folder: Path):
    """The real files, served on this machine."""
    server.files |= {f"mnist/{file.name}": file.read_bytes() for file in mnist_folder.iterdir()}
    return server


def test_all_four_files_arrive_and_are_found(mirror, tmp_path: Path) -> None:
    seen: dict[str, int] = {}
    folder = data.fetch(
        "mnist",
        tmp_path,
        urls=[mirror.url("elsewhere"), mirror.url("mnist/")],
        progress=lambda name, done, _: seen.__setitem__(name, done),
    )
    assert folder == tmp_path / "mnist"
    assert data.check(tmp_path).ok
    assert set(data.find("mnist", tmp_path).values()) == set(folder.iterdir())
    assert seen == {file.name: file.stat().st_size for file in folder.iterdir()}
    asked = len(mirror.log)
    assert asked == 8
    assert data.fetch("mnist", tmp_path, urls=[mirror.url("mnist")]) == folder
    assert len(mirror.log) == asked  # nothing is missing, so nothing is asked for


def test_after_a_cut_only_the_rest_is_fetched(mirror, tmp_path: Path) -> None:
    mirror.cut_after = [50_000]
    with pytest.raises(data.DownloadError, match=r"train-images-idx3-ubyte.gz could not be downloaded"):
        data.fetch("mnist", tmp_path, urls=[mirror.url("mnist")])
    data.fetch("mnist", tmp_path, urls=[mirror.url("mnist")])
    assert mirror.log[1][1] == "bytes=50000-"
    assert data.check(tmp_path).ok


def test_a_damaged_download_of_before_is_replaced(mirror, linked: Path) -> None:
    folder = linked.rename(linked.with_name("mnist"))
    damaged = folder / "t10k-labels-idx1-ubyte.gz"
    damaged.unlink()
    damaged.write_bytes(b"\x1f\x8b damaged")
    data.fetch("mnist", folder.parent, urls=[mirror.url("mnist")])
    assert [path for path, _, _ in mirror.log] == ["mnist/t10k-labels-idx1-ubyte.gz"]
    assert data.check(folder).ok


def test_a_damaged_plain_file_is_refused_and_left_alone(mirror, tmp_path: Path) -> None:
    plain = tmp_path / "mnist" / "train-images-idx3-ubyte"
    plain.parent.mkdir()
    plain.write_bytes(b"mine")
    with pytest.raises(data.DataError, match=f"{plain}: size of the header of IDX images"):
        data.fetch("mnist", tmp_path, urls=[mirror.url("mnist")])
    assert plain.read_bytes() == b"mine"
    assert mirror.log == []


def test_what_is_not_mnist_is_not_kept(server, tmp_path: Path) -> None:
    server.files["train-images-idx3-ubyte.gz"] = b"<html>Sign in to the network</html>"
    with pytest.raises(data.DownloadError) as caught:
        data.fetch("mnist", tmp_path, urls=[server.url()])
    assert f"{server.url('train-images-idx3-ubyte.gz')}: " in str(caught.value)
    assert "magic number of IDX images: expected 2051, got 1013478509" in str(caught.value)
    assert list((tmp_path / "mnist").iterdir()) == []


def test_without_addresses_the_known_mirrors_are_asked_in_order(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a proxy that refuses, so that nothing leaves this machine."""
    monkeypatch.setenv("https_proxy", server.url())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(data.DownloadError) as caught:
        data.fetch("mnist")
    _, first, second, by_hand = str(caught.value).splitlines()
    assert first.startswith("  https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz: ")
    assert second.startswith(
        "  https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz: "
    )
    folder = tmp_path / "bptt" / "mnist"
    assert "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte" in by_hand
    assert f"put into {folder}; `bptt data check {folder}`" in by_hand
    assert list(folder.iterdir()) == []
