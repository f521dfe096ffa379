"""One optimiser step."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor

from .. import flow, nn
from ..detach import Detach
from ..streams import stream
from ..tasks import Batch, Task
from ._config import Config
from ._evaluate import cast, forward
from ._optimizer import global_norm
from ._randomness import seeded_by


@dataclass(frozen=True)
class Step:
    """What a step saw: the loss and global gradient norm before clipping, and the task's metrics."""

    loss: float
    norm: float
    clipped: bool
    metrics: Mapping[str, tuple[Tensor, int]]

    @property
    def non_finite(self) -> str | None:
        """The status that this step ends a run with, if it does; the weights are then those before it."""
        if not isfinite(self.loss):
            return "non-finite loss"
        return None if isfinite(self.norm) else "non-finite gradient"


def take_step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    batch: Batch,
    config: Config,
    *,
    detach: Detach | None,
    number: int,
    watch: flow.Watch | None = None,
) -> Step:
    """Draw the coins of step `number`, and update the model unless the loss or the gradient is not finite.

    Coins and dropout depend on (seed, number) alone: arms that differ in p see the same dropout, and a
    resumed run needs no generator state. The host waits for the device once, for loss and norm together.
    """
    batch = batch._replace(y=cast(batch.y, config.dtype))
    steered = nullcontext()
    if detach is not None:
        T, B = batch.x.shape[:2]
        coins = stream(config.seed, "detach", number)
        steered = nn.steer(model, keeps=nn.draw_keeps(model, (T, B), generator=coins))
    optimizer.zero_grad(set_to_none=True)
    watched = nullcontext() if watch is None else watch.step(number)
    with torch.enable_grad(), seeded_by(stream(config.seed, "dropout", number), model, task), watched:
        with steered:
            output = forward(model, batch, config.dtype, config.autocast)
        loss = task.loss(output, batch)
        loss.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = global_norm(parameters)
    loss_value, norm_value = torch.stack((loss.detach().double(), norm)).tolist()
    limit = inf if config.clip_norm == "none" else config.clip_norm
    clipped = norm_value > limit
    step = Step(loss_value, norm_value, clipped, task.metrics(output.detach(), batch))
    if watch is not None and watch.due(number):
        watch.clipped(norm_value, limit if clipped and step.non_finite is None else norm_value)
    if step.non_finite is None:
        if clipped:
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        optimizer.step()
    return step
