"""`check` says for each file what is wrong with it, and knows MNIST by its content."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from bptt.tasks import data

Idx = Callable[..., bytes]


def test_the_real_files_pass_and_one_compressed_anew_gets_a_note(linked: Path) -> None:
    labels = linked / "t10k-labels-idx1-ubyte.gz"
    plain = gzip.decompress(labels.read_bytes())
    labels.unlink()
    labels.write_bytes(gzip.compress(plain, 1))
    result = data.check(linked)
    assert result.ok
    assert result.folder == linked
    assert all(file.ok and file.path is not None and file.problem is None for file in result.files)
    notes = {file.name: file.note for file in result.files}
    assert notes["train-labels-idx1-ubyte"] is None
    assert notes["t10k-images-idx3-ubyte"] is None
    note = notes["t10k-labels-idx1-ubyte"]
    assert note is not None
    assert "ec29112dd5afa0611ce80d1b7f02629c as first published; the unpacked bytes are the same" in note


def test_plain_files_pass_without_a_note(linked: Path) -> None:
    packed = linked / "t10k-labels-idx1-ubyte.gz"
    (linked / "t10k-labels-idx1-ubyte").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    result = data.check(linked.parent / "linked")
    assert result.ok
    assert result.files[-1] == data.FileCheck("t10k-labels-idx1-ubyte", linked / "t10k-labels-idx1-ubyte")


def test_every_problem_is_told_at_once(idx: Idx, tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(idx(2050, 60_000, 28, 28, data=b""))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(2049, 60_000))[:-3])
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(2051, 9_999, 28, 28))
    result = data.check(tmp_path)
    assert not result.ok
    assert result.folder == folder
    problems = [file.problem or "" for file in result.files]
    assert problems[0].endswith(
        "train-images-idx3-ubyte: magic number of IDX images: expected 2051, got 2050"
    )
    assert "train-labels-idx1-ubyte.gz: gzip data: expected a complete stream" in problems[1]
    assert problems[2].endswith("count of images: expected 10000 × 28 × 28, got 9999 × 28 × 28")
    assert problems[3] == f"{folder / 't10k-labels-idx1-ubyte'}: missing, and so is t10k-labels-idx1-ubyte.gz"
    assert [file.path is None for file in result.files] == [False, False, False, True]


def test_sound_files_with_other_content_do_not_pass(idx: Idx, linked: Path) -> None:
    labels = linked / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(2049, 10_000))
    result = data.check(linked)
    by_path = {file.path: file for file in result.files}
    assert len(result.files) == 5
    assert not result.ok
    problem = by_path[labels].problem
    assert problem is not None
    assert problem.startswith(f"{labels}: SHA-256 of the unpacked file: expected ff7bcfd416de")
    assert by_path[linked / "t10k-labels-idx1-ubyte.gz"].ok


def test_an_empty_folder_lacks_all_four(tmp_path: Path) -> None:
    result = data.check(tmp_path)
    assert [file.ok for file in result.files] == [False] * 4
    assert not result.ok


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match=r"the folder to check must exist, got '.*/nowhere'"):
        data.check(tmp_path / "nowhere")
