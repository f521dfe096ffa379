"""Reading the weights of a run, whether it has ended or not."""

from pathlib import Path

import safetensors.torch
from torch import Tensor

from . import _folder, _state
from ._errors import RunError
from ._outcome import verify_outcome


def read_weights(folder: Path | str) -> tuple[dict[str, Tensor], str]:
    """The weights of a run by name, and which they are; nothing in the folder changes.

    Returns:
        Those of the best epoch if the run has ended and has one; else those last saved.

    Raises:
        RunError: if the folder is no run folder, is damaged, or holds no weights yet.
    """
    folder = Path(folder)
    written = _folder.read_spec(folder)
    outcome = verify_outcome(folder)
    if outcome is not None and outcome.weights_sha256 is not None:
        weights = safetensors.torch.load((folder / _folder.WEIGHTS).read_bytes())
        return weights, f"of the best epoch, {outcome.best['epoch']}" if outcome.best else "of the end"
    refusals = []
    for path in (folder / _state.NAME, folder / _state.PREVIOUS):
        try:
            state = _state.decode(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            refusals.append(f"{path} {error}")
            continue
        if state["spec"] == written["hash"]:
            return dict(state["model"]), f"saved last, at step {state['step']}"
        refusals.append(f"{path} is of another run")
    raise RunError("; ".join([f"{folder} holds no weights that can be used", *refusals]))
