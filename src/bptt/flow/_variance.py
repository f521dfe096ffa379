"""What coins of detachment do to a gradient: what they take away, and the noise that they add."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from .. import nn
from ..detach import Detach, Keeps
from ..streams import stream
from ._copied import Call, called, copied, scalar
from ._input import Given, keys
from ._taps import Key, tapped


@dataclass(frozen=True)
class Variance:
    """The gradient of all weights under masks of h-detach with probability p, beside the true one.

    Attributes:
        p: probability of blocking h at a step.
        true: ‖g‖, g being the gradient without blocking.
        norms: of the gradient under each mask, `(masks,)`.
        cosines: of the gradient under each mask to g, `(masks,)`.
        mean: ‖m‖, m being the mean over masks.
        deviation: the root of the mean of ‖gradient − m‖² over masks.
        cosine: of m to g, which is what is left of the direction when the noise averages out.
    """

    p: float
    true: float
    norms: Tensor
    cosines: Tensor
    mean: float
    deviation: float
    cosine: float


def variance(
    model: Module,
    batch: Any,
    loss: Callable[[Tensor, Any], Tensor],
    p: Sequence[float],
    *,
    masks: int = 32,
    seed: int = 0,
    call: Call = called,
) -> tuple[Variance, ...]:
    """Size, direction and spread of the gradient over masks of h-detach.

    Args:
        model, batch, call: as in `lag_profile`.
        loss: of the output and the batch: a scalar.
        p: probabilities of blocking, of all layers alike; one coin a step, every layer and direction its own.
        masks: how many are drawn, at least 2, from the same random numbers for every p.
        seed: of the masks.

    Returns:
        One for each p.

    Raises:
        ValueError: if there is no recurrent layer, the loss is no scalar with a gradient, there are fewer
            than two masks, or a p is outside [0, 1].

    Source: Kanuparthi et al., "h-detach", ICLR 2019 (arXiv 1810.03023), Algorithm 1.
    """
    if masks < 2:
        raise ValueError(f"masks must be at least 2, got {masks}")
    rules = [Detach(h=each) for each in p]
    with copied(model) as mine:
        mine.requires_grad_(True)
        layers = nn.recurrent_layers(mine)
        random = torch.get_rng_state()

        def gradient(rule: Detach, mask: int) -> Tensor:
            torch.set_rng_state(random)
            coins = stream(seed, "flow.variance", mask)

            def keeps(name: str, x: Given) -> dict[Key, Keeps]:
                shape, device = (x.T, x.B), x.data.device
                drawn = {
                    key: rule.sample(shape, generator=coins, device=device) for key in keys(layers[name])
                }
                return {key: Keeps(h=each.h) for key, each in drawn.items()}

            with tapped(layers, lambda *_: None, keeps):
                value = scalar(loss(call(mine, batch), batch))
            parts = torch.autograd.grad(value, list(mine.parameters()), materialize_grads=True)
            return torch.cat([part.double().flatten() for part in parts])

        true = gradient(Detach(), 0)
        return tuple(
            _summary(rule.h, true, torch.stack([gradient(rule, mask) for mask in range(masks)]))
            for rule in rules
        )


def _summary(p: float, true: Tensor, every: Tensor) -> Variance:
    mean = every.mean(0)
    return Variance(
        p,
        true.norm().item(),
        every.norm(dim=1),
        F.cosine_similarity(every, true.unsqueeze(0)),
        mean.norm().item(),
        (every - mean).square().sum(1).mean().sqrt().item(),
        F.cosine_similarity(mean, true, dim=0).item(),
    )
