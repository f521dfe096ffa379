"""The data sets by name: their files, known hashes, usual folders and mirrors."""

from typing import NamedTuple

from ._idx import Kind


class File(NamedTuple):
    """A file: its shape, the SHA-256 of its unpacked bytes, and the MD5 of the .gz as first published."""

    kind: Kind
    shape: tuple[int, ...]
    sha256: str
    gz_md5: str


class DataSet(NamedTuple):
    """Files by standard name (each may end in .gz), the folders they usually lie in, and mirrors."""

    files: dict[str, File]
    folders: tuple[str, ...]
    mirrors: tuple[str, ...]


SETS = {
    "mnist": DataSet(
        files={
            "train-images-idx3-ubyte": File(
                "images",
                (60_000, 28, 28),
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            ),
            "train-labels-idx1-ubyte": File(
                "labels",
                (60_000,),
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "d53e105ee54ea40749a09fcbcd1e9432",
            ),
            "t10k-images-idx3-ubyte": File(
                "images",
                (10_000, 28, 28),
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "9fb629c4189551a2d022fa330f9573f3",
            ),
            "t10k-labels-idx1-ubyte": File(
                "labels",
                (10_000,),
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        },
        folders=(".", "mnist", "MNIST/raw", "raw"),  # the last two are torchvision's
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
}


def names() -> list[str]:
    """The names of the data sets that can be found, checked and fetched."""
    return sorted(SETS)


def data_set(name: str) -> DataSet:
    """The data set `name`.

    Raises:
        ValueError: if there is none.
    """
    if name not in SETS:
        raise ValueError(f"the data set must be one of {', '.join(SETS)}, got {name!r}")
    return SETS[name]
