"""state.pt: a run at one exact step, in a file that notices any damage."""

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch

from . import _files
from ._errors import RunError

NAME, PREVIOUS, REFUSED = "state.pt", "state.prev.pt", "state.refused.pt"

_log = logging.getLogger("bptt.train")
_FORMAT = 1
_SEAL = b"bptt run state, sha256 "
_SEAL_LENGTH = len(_SEAL) + 64

State = dict[str, Any]


def encode(state: State) -> bytes:
    """The bytes of a state file: what `torch.save` writes, with a checksum as the archive's comment.

    A zip archive ends with the length of its comment and the comment, so that `torch.load` and any unzip open
    the file as it is.
    """
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, buffer)
    archive = buffer.getvalue()
    body = archive[:-2] + _SEAL_LENGTH.to_bytes(2, "little")
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode()


def decode(data: bytes) -> State:
    """What `encode` was given.

    Raises:
        ValueError: if a single bit differs from what was written, or it was written by something else.
    """
    body, seal = data[:-_SEAL_LENGTH], data[-_SEAL_LENGTH:]
    if not seal.startswith(_SEAL):
        raise ValueError("is cut short, or was not written by bptt (its seal is missing)")
    if seal.removeprefix(_SEAL) != hashlib.sha256(body).hexdigest().encode():
        raise ValueError("is damaged (its sha256 does not match its seal)")
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if state["format"] != _FORMAT:
        raise ValueError(f"has format {state['format']}, and this version of bptt reads format {_FORMAT}")
    return state


def save(folder: Path, state: State) -> None:
    """Write state.pt; the one before it becomes state.prev.pt."""
    _files.rotate(folder / NAME, folder / PREVIOUS, encode(state))


def load(folder: Path, spec: str) -> State | None:
    """The newest good state of a run folder, or None if it has no state file at all.

    A state.pt that is refused is set aside as state.refused.pt once state.prev.pt is seen to be good, so that
    the next checkpoint cannot rotate it over the good one.

    Args:
        folder: the run folder.
        spec: the hash that the run's states carry.

    Raises:
        RunError: if there are state files and none of them is good.
    """
    refusals = []
    for path in (folder / NAME, folder / PREVIOUS):
        try:
            state = decode(path.read_bytes())
        except FileNotFoundError:
            continue
        except OSError as error:
            refusals.append(f"{path} cannot be read: {error.strerror}")
            continue
        except ValueError as error:
            refusals.append(f"{path} {error}")
            continue
        if state["spec"] != spec:
            refusals.append(
                f"{path} is of another run (its spec's hash is {state['spec'][:12]}…, not {spec[:12]}…)"
            )
            continue
        if refusals:
            (folder / NAME).replace(folder / REFUSED)
            _log.warning("%s; resuming from %s, epoch %d", *refusals, path, state["epoch"])
        return state
    if not refusals:
        return None
    raise RunError(
        "; ".join(refusals)
        + ". There is no other checkpoint of this run: put a good copy of one of these files back, "
        f"or delete {folder} to start the run over"
    )
