"""Which gradient paths are blocked, and how often: the only place where a coin is tossed."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

Draw = Literal["step", "sequence", "mean"]


class Keeps(NamedTuple):
    """Factors on the gradient of a recurrence, one per step (`(T,)`) or per step and sequence (`(T, B)`).

    `h` acts on the path through the gates, `c` on the carry (an LSTM's `c_{t-1}`, a GRU's `z ⊙ h_{t-1}`).
    0 blocks, 1 leaves open, None does the same as ones at no cost. Values of the forward pass never change.
    """

    h: Tensor | None = None
    c: Tensor | None = None


@dataclass(frozen=True)
class Detach:
    """Block gradient paths through time at random, with probability `h` on the gates and `c` on the carry.

    At step t the gates read `scale_grad(h_{t-1}, keep_t)`, whose value is `h_{t-1}` and whose gradient is
    multiplied by `keep_t`; `keep_t` is 0 with probability p and 1 otherwise. The loss's own use of `h_t` is
    never cut.

    Args:
        h: probability of blocking the path through the gates at a step (h-detach), 0 ≤ h ≤ 1.
        c: probability of blocking the carry at a step (c-detach), 0 ≤ c ≤ 1. LSTM and GRU only.
        draw: `"step"`, one coin per step for the whole batch, as in the paper's code; `"sequence"`, one per
            step and sequence; `"mean"`, no coin but its expectation, keep = 1 − p.
        shared: one draw for all layers and directions of a module instead of one for each.

    Raises:
        TypeError: if a probability is no real number, or `shared` no bool.
        ValueError: if a probability is outside [0, 1], or `draw` is unknown.

    Source: Kanuparthi et al., "h-detach", ICLR 2019 (arXiv 1810.03023), Algorithm 1; `p` there is the
    probability of blocking, as here.
    """

    h: float = 0.0
    c: float = 0.0
    draw: Draw = "step"
    shared: bool = False

    def __post_init__(self) -> None:
        for name in ("h", "c"):
            p = getattr(self, name)
            if isinstance(p, bool) or not isinstance(p, int | float):
                raise TypeError(f"Detach: {name} must be a probability, got {p!r} of type {type(p).__name__}")
            if not (isfinite(p) and 0 <= p <= 1):
                raise ValueError(f"Detach: {name} must be a probability in [0, 1], got {p}")
            object.__setattr__(self, name, float(p))
        if self.draw not in get_args(Draw):
            known = ", ".join(map(repr, get_args(Draw)))
            raise ValueError(f"Detach: draw must be one of {known}, got {self.draw!r}")
        if not isinstance(self.shared, bool):
            raise TypeError(f"Detach: shared must be a bool, got {type(self.shared).__name__}")

    @property
    def active(self) -> bool:
        """Whether any path is ever blocked."""
        return self.h > 0 or self.c > 0

    def sample(
        self,
        shape: tuple[int, int],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Keeps:
        """Toss the coins of one sequence batch.

        Args:
            shape: `(T, B)`, steps and sequences.
            generator: where the coins come from; torch's global generator if None.
            device: where the keeps are wanted. The coins are tossed on the generator's device.
            dtype: of the keeps.

        Returns:
            `Keeps(h, c)`, each `(T,)`, or `(T, B)` for `draw="sequence"`. Where p is 0 the keeps are ones and
            nothing is drawn.

        Raises:
            ValueError: if shape is not two non-negative ints.
            TypeError: if dtype is no floating dtype.
        """
        if not (isinstance(shape, tuple | list) and len(shape) == 2 and all(map(_is_size, shape))):
            raise ValueError(f"Detach: shape must be (T, B), two non-negative ints, got {shape}")
        if not dtype.is_floating_point:
            raise TypeError(f"Detach: dtype must be a floating dtype, got {dtype}")
        tossed_on = generator.device if generator is not None else device
        wanted_on = device if device is not None else tossed_on

        def keep(p: float) -> Tensor:
            return _keep(p, self.draw, shape, dtype, tossed_on, wanted_on, generator)

        return Keeps(keep(self.h), keep(self.c))


class Coins(NamedTuple):
    """A `Detach` for compiled graphs: its probabilities are data there, which may change without recompiling.

    The compiler makes constants of all that it reads of a `Detach` itself.
    """

    draw: Draw
    shared: bool
    p: Tensor  # (2,): of h and c

    @classmethod
    def of(cls, detach: Detach) -> "Coins":
        return cls(
            detach.draw, detach.shared, torch.tensor([detach.h, detach.c], dtype=torch.float64, device="cpu")
        )

    def sample(self, shape: tuple[int, int], *, device: torch.device, dtype: torch.dtype) -> Keeps:
        """What `Detach.sample` gives, but that coins are tossed where p is 0, too."""
        h, c = (_keep(p, self.draw, shape, dtype, device, device) for p in self.p.unbind(0))
        return Keeps(h, c)


def _keep(
    p: float | Tensor,
    draw: Draw,
    shape: tuple[int, int],
    dtype: torch.dtype,
    tossed_on: torch.device | str | None,
    wanted_on: torch.device | str | None,
    generator: torch.Generator | None = None,
) -> Tensor:
    size = shape if draw == "sequence" else shape[:1]
    if draw == "mean" or (isinstance(p, float) and p == 0):
        return torch.ones(size, dtype=dtype, device=wanted_on) * (1 - p)
    # The compiler refuses a generator of None beside sizes that it does not know.
    source: dict[str, Any] = {} if generator is None else {"generator": generator}
    open_path = torch.rand(size, **source, dtype=torch.float32, device=tossed_on) >= p
    return open_path.to(device=wanted_on, dtype=dtype)


def _is_size(n: object) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 0
