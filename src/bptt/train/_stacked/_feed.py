"""What the steps of an epoch read, on the device before they are taken: the order of the data, and coins."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ... import nn
from ...streams import stream
from .._loop import Loop

# (module name, (layer, direction), "h" or "c"): a gradient path with a keep of its own.
Place = tuple[str, tuple[int, int], str]


def places(loops: Sequence[Loop]) -> list[Place]:
    """Every path that is ever blocked in one of the runs."""
    found: dict[Place, None] = {}
    for loop in loops:
        for name, keys in _drawn(loop, (1, 1), 0).items():
            for key, keeps in keys.items():
                for path in ("h", "c"):
                    if getattr(keeps, path) is not None and getattr(loop.rule, path) > 0:
                        found[name, key, path] = None
    return list(found)


class Feed:
    """The batches of one size that an epoch has, for R runs.

    Steps read it by a counter on the device, so that a recorded step goes on by itself.

    Args:
        loops: the runs.
        order: (S, R, B) indices.
        at: (), which step of the epoch is next.
        first: the number in the epoch of the first of these steps.
        places: whose keeps are wanted.
        ahead: for how many steps keeps are there at a time.
    """

    def __init__(
        self,
        loops: Sequence[Loop],
        order: Tensor,
        at: Tensor,
        *,
        first: int,
        places: Sequence[Place],
        ahead: int,
    ) -> None:
        self._loops, self._order, self._at, self._first, self._places = loops, order, at, first, places
        self._ahead = min(ahead, len(order))
        self._shape = (loops[0].task.steps, order.shape[2])
        each = any(loop.rule is not None and loop.rule.draw == "sequence" for loop in loops)
        self._kept = self._shape if each else self._shape[:1]
        size = (self._ahead, len(loops), len(places), *self._kept)
        self._keeps = torch.ones(size, dtype=loops[0].config.dtype, device=order.device)

    def new_epoch(self, order: Tensor) -> None:
        """Take the order of another epoch in the place of this one's."""
        self._order.copy_(order)

    def draw(self, begin: int, end: int) -> None:
        """Toss the coins of some steps of the epoch, after those that are under way.

        Args:
            begin, end: numbers in the epoch, between the same two multiples of `ahead`.
        """
        if not self._places:
            return
        drawn = torch.ones(end - begin, *self._keeps.shape[1:], dtype=self._keeps.dtype, device="cpu")
        for row, loop in enumerate(self._loops):
            if loop.detach is None or not loop.detach.active:
                continue
            for step in range(begin, end):
                number = loop.run.step + 1 + step - loop.run.epoch_step
                keeps = _drawn(loop, self._shape, number)
                for column, (name, key, path) in enumerate(self._places):
                    if name not in keeps:  # the run has failed, and its model obeys nobody here any more
                        continue
                    keep = getattr(keeps[name][key], path)
                    fits = keep.dim() == len(self._kept)
                    drawn[step - begin, row, column] = keep if fits else keep.unsqueeze(1)
        if self._keeps.is_cuda:
            drawn = drawn.pin_memory()
        slot = (begin - self._first) % self._ahead
        self._keeps[slot : slot + end - begin].copy_(drawn, non_blocking=True)

    def indices(self) -> Tensor:
        """(R, B) of the next step."""
        return self._order.index_select(0, self._at - self._first)[0]

    def keeps(self) -> Tensor:
        """(R, places, T) or (R, places, T, B) of the next step."""
        return self._keeps.index_select(0, (self._at - self._first) % self._ahead)[0]


def _drawn(loop: Loop, shape: tuple[int, int], number: int) -> dict:
    coins = stream(loop.config.seed, "detach", number)
    return nn.draw_keeps(loop.run.model, shape, generator=coins, device="cpu")
