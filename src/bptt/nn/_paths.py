"""Keeps and taps as the caller writes them: one entry for each (layer, direction) that they concern."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from .. import ops

Key = tuple[int, int]
Pair = tuple[Tensor | None, Tensor | None]
PathMap = Mapping[Key, Tensor | Pair]


class Taps(NamedTuple):
    """Zeros added to the states of a recurrence, whose gradients are the total dL/dh_t and dL/dc_t.

    `h` is `(T, B, H)` (`(T, B, P)` with a projection), `c`, of an LSTM only, `(T, B, H)`.
    """

    h: Tensor | None = None
    c: Tensor | None = None


def check_entries(
    argument: str, given: Any, *, layer: str, keys: Sequence[Key], paths: Sequence[str]
) -> dict[Key, Pair]:
    """`given` with every entry as a pair (h, c), after checking all but the sizes.

    Args:
        argument: `"keeps"` or `"taps"`, for the messages.
        given: what the caller passed.
        layer: the layer's name, for the messages.
        keys: the (layer, direction) that exist.
        paths: those of `"h"` and `"c"` that the layer has.

    Raises:
        TypeError: if the map, or an entry, has the wrong type.
        ValueError: if a key or a path does not exist.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{argument} must map (layer, direction) to tensors, got {type(given).__name__}")
    pairs = {}
    for key, entry in given.items():
        if key not in keys:
            known = ", ".join(map(str, keys))
            raise ValueError(f"{argument} of {layer} must have keys among {known}, got {key!r}")
        pair = (entry, None) if isinstance(entry, Tensor) else entry
        if not (
            isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(t, Tensor | None) for t in pair)
        ):
            raise TypeError(
                f"{argument}[{key}] must be a tensor, for h, or a pair (h, c) of tensors or None, "
                f"got {_described(entry)}"
            )
        if pair[1] is not None and "c" not in paths:
            raise ValueError(
                f"{argument}[{key}].c must be None: {layer} takes {argument} of h only, "
                f"got shape {tuple(pair[1].shape)}"
            )
        pairs[key] = (pair[0], pair[1])
    return pairs


def check_keeps(pairs: Mapping[Key, Pair], T: int, B: int) -> None:
    """Refuse by its key a keep that the op would refuse."""
    for key, pair in pairs.items():
        for path, keep in zip("hc", pair, strict=True):
            if keep is not None:
                ops.check_keep(f"keeps[{key}].{path}", keep, T, B)


def check_taps(pairs: Mapping[Key, Pair], T: int, B: int, *, P: int, H: int) -> None:
    """Refuse by its key a tap that is not `(T, B, P)` for h or `(T, B, H)` for c."""
    widths = (("h", "H" if P == H else "P", P), ("c", "H", H))
    for key, pair in pairs.items():
        for (path, letter, width), tap in zip(widths, pair, strict=True):
            if tap is not None:
                ops.check_tap(f"taps[{key}].{path}", tap, (T, B, width), letter)


def _described(entry: Any) -> str:
    if isinstance(entry, tuple):
        return f"a tuple of {', '.join(type(item).__name__ for item in entry) or 'nothing'}"
    return type(entry).__name__
