"""The arrays of a measurement: what each may be named, and must hold."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .._files import DamagedError

GATES = {
    "LSTM": {"i": "input gate i", "f": "forget gate f", "g": "candidate g", "o": "output gate o"},
    "GRU": {"r": "reset gate r", "z": "update gate z", "n": "candidate n"},
    "RNN": {"h": "state h"},
    "input": {},
}

LOOKED = "training/steps"


@dataclass(frozen=True)
class Held:
    """What an array holds, in words, and its dimensions, by letter or size.

    Letters mean the same within a `scope`. Values are numbers of at least 0 unless `signed`; `whole` ones
    are integers, `rising` ones grow. `needs` names arrays without which this one cannot be drawn.
    """

    what: str
    dims: tuple[str | int, ...]
    scope: str
    signed: bool = False
    rising: bool = False
    needs: tuple[str, ...] = ()


def expected(layers: Iterable[tuple[str, str]]) -> dict[str, Held]:
    """Every array there may be, for layers given as (key, kind)."""
    at, clips = "reach/at", "training/clip_steps"
    found = {
        at: Held("output steps that were asked", ("J",), "reach", rising=True),
        "reach/norms": Held("‖∂out_t/∂x_s‖, (output step, input step)", ("J", "T"), "reach", needs=(at,)),
        "reach/probes": Held("random mixtures that the norms are estimated from", (1,), "reach"),
        "reach/input": Held("the input that is shown", ("T",), "reach", signed=True),
        LOOKED: Held("training steps looked at", ("N",), "training", rising=True),
        clips: Held("training steps whose norms were told", ("C",), "training", rising=True, needs=(LOOKED,)),
        "training/before": Held("gradient norm before clipping", ("C",), "training", needs=(clips,)),
        "training/after": Held("gradient norm after clipping", ("C",), "training", needs=(clips,)),
    }
    for key, kind in layers:
        found |= _gradients(key) | _gates(key, kind) | _jacobians(key)
    return found


def _gradients(key: str) -> dict[str, Held]:
    lag, time, trained = f"lag/{key}", f"time/{key}", f"training/{key}"
    found: dict[str, Held] = {}
    for state in "hc":
        name = f"‖∂L/∂{state}‖"
        low, high = f"{lag}/{state}_low", f"{lag}/{state}_high"
        found |= {
            f"{lag}/{state}": Held(f"{name} by lag: median", ("K",), lag, needs=(low, high)),
            low: Held(f"{name} by lag: 10% quantile", ("K",), lag, needs=(f"{lag}/{state}",)),
            high: Held(f"{name} by lag: 90% quantile", ("K",), lag, needs=(f"{lag}/{state}",)),
            f"{time}/{state}": Held(f"{name} by time step: median over sequences", ("T",), time),
        }
    for path in ("carry", "gates"):
        found[f"{lag}/{path}"] = Held(f"part of the gradient by the path “{path}”, by lag", ("K",), lag)
    found[f"unit/{key}"] = Held("|∂L/∂s|, (time step, unit)", ("T", "H"), f"unit/{key}")
    steps, split, kept = f"{trained}/steps", f"{trained}/split_steps", f"{trained}/t"
    found |= {
        kept: Held("time steps kept", ("M",), trained, rising=True),
        steps: Held("training steps at which they were kept", ("N",), trained, rising=True, needs=(LOOKED,)),
        split: Held(
            "training steps at which paths were split", ("S",), trained, rising=True, needs=(LOOKED,)
        ),
        f"{trained}/half_life": Held("half-life in steps, NaN for none", ("N",), trained, needs=(steps,)),
    }
    for part, own in (("h", steps), ("c", steps), ("carry", split), ("gates", split)):
        what, letter = f"gradient norm of {part}, (training step, time step)", "N" if own == steps else "S"
        found[f"{trained}/{part}"] = Held(what, (letter, "M"), trained, needs=(own, kept))
    return found


def _gates(key: str, kind: str) -> dict[str, Held]:
    scope = f"gates/{key}"
    found = {
        f"{scope}/saturated/{gate}": Held(f"share of units saturated: {name}", ("T",), scope)
        for gate, name in GATES[kind].items()
    }
    memory = "effective memory 1/(1 − f) in steps: 10%, 50% and 90% quantile"
    found[f"{scope}/memory"] = Held(memory, ("T", 3), scope)
    found[f"{scope}/forget"] = Held("a sample of forget gate values", ("N",), scope)
    return found


def _jacobians(key: str) -> dict[str, Held]:
    scope, lyapunov = f"spectrum/{key}", f"lyapunov/{key}"
    steps = f"{scope}/steps"
    return {
        steps: Held("time steps of the Jacobians", ("S",), scope, rising=True),
        f"{scope}/singular": Held(
            "singular values of each step’s Jacobian", ("S", "n"), scope, needs=(steps,)
        ),
        f"{scope}/radius": Held("spectral radius of each step’s Jacobian", ("S",), scope, needs=(steps,)),
        f"{scope}/condition": Held("condition number of each", ("S",), scope, needs=(steps,)),
        f"{scope}/products": Held("ln σ_max of the product of the last k + 1", ("K",), scope, signed=True),
        f"{scope}/eigenvalues": Held(
            "eigenvalues of W_hh: real, imaginary part", ("H", 2), scope, signed=True
        ),
        f"{scope}/weight_singular": Held("singular values of W_hh", ("H",), scope),
        f"{lyapunov}/exponents": Held(
            "Lyapunov exponents per step, natural log", ("k",), lyapunov, signed=True
        ),
        f"{lyapunov}/running": Held("their estimates after each step", ("T", "k"), lyapunov, signed=True),
    }


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an npz file, every one of numbers.

    Raises:
        DamagedError: if it is none, is cut short, or holds something else.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedError(f"flow.npz is no npz file of numbers: {error}") from None
    for name, array in found.items():
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        if not isinstance(kind, np.dtype) or kind.kind not in "fiu":
            raise DamagedError(f"flow.npz: {name} must hold numbers, got {kind}")
    return found


def check(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, Held]) -> None:
    """Refuse arrays that are not what their names promise.

    Raises:
        DamagedError: for a wrong shape or value, or a companion that is missing.
    """
    sizes: dict[tuple[str, str], tuple[int, str]] = {}
    for name, held in wanted.items():
        if name not in arrays:
            continue
        array = arrays[name]
        for other in held.needs:
            if other not in arrays:
                raise DamagedError(f"flow.npz: {name} needs {other}, which is absent")
        _check_shape(name, array, held, sizes)
        if not held.signed and (array < 0).any():
            raise DamagedError(f"flow.npz: {name} must be at least 0, got {array[array < 0].flat[0]:g}")
        steps = array.astype(np.float64)
        if held.rising and not ((np.diff(steps) > 0).all() and (np.floor(steps) == steps).all()):
            raise DamagedError(
                f"flow.npz: {name} must hold whole numbers that rise, got {array[:6].tolist()}"
            )


def _check_shape(
    name: str, array: np.ndarray, held: Held, sizes: dict[tuple[str, str], tuple[int, str]]
) -> None:
    letters = ", ".join(str(each).split()[0] for each in held.dims)
    if array.ndim != len(held.dims) or array.size == 0:
        raise DamagedError(f"flow.npz: {name} must have shape ({letters}), got {array.shape}")
    for dim, size in zip(held.dims, array.shape, strict=True):
        want, first = (
            (dim, name) if isinstance(dim, int) else sizes.setdefault((held.scope, dim), (size, name))
        )
        if size != want:
            like = "" if first == name else f" with the {str(dim).split()[0]} = {want} of {first}"
            raise DamagedError(f"flow.npz: {name} must have shape ({letters}){like}, got {array.shape}")
