"""Running a model over a split, without coins, dropout or gradients."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..streams import stream
from ..tasks import Batch, Task
from ._config import Config
from ._metrics import Sums
from ._randomness import seeded_by


def forward(
    model: Callable[..., Tensor], batch: Batch, dtype: torch.dtype, autocast: torch.dtype | None = None
) -> Tensor:
    """The model's output on a batch, of `dtype`, the model given lengths only where the task has them."""
    x = cast(batch.x, dtype)
    lengths = {} if batch.lengths is None else {"lengths": batch.lengths}
    if autocast is None:
        return model(x, **lengths)
    # Without a cache of weights, which neither other threads nor a recorded step could share.
    with torch.autocast(x.device.type, autocast, cache_enabled=False):
        return model(x, **lengths).to(dtype)


def evaluate_split(
    model: torch.nn.Module, task: Task, split: str, config: Config, check: Callable[[], None]
) -> dict[str, float]:
    """`evaluate` as a config has it."""
    size, autocast = config.eval_batch_size, config.autocast
    return evaluate(model, task, split, batch_size=size, autocast=autocast, check=check)


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Real numbers in the run's precision; tokens, classes and masks as they are."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def evaluate(
    model: torch.nn.Module,
    task: Task,
    split: str,
    *,
    batch_size: int = 1000,
    autocast: torch.dtype | None = None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The task's metrics over a whole split, with the model in eval mode (restored after).

    Args:
        model: takes `(T, B, I)` or tokens `(T, B)`, in the dtype and on the device of its parameters.
        task: on the same device.
        split: one of `task.sizes`.
        batch_size: sequences at once; changes results by rounding only.
        autocast: the dtype that the model computes in under torch.autocast; None for that of its parameters.
        check: called before every batch; what it raises stops the evaluation.

    Returns:
        Name → mean over the split.
    """
    parameter = next(model.parameters())
    was_training = model.training
    totals = Sums()
    model.eval()
    try:
        with torch.no_grad(), seeded_by(stream(0, "evaluation"), model, task):
            for batch in task.batches(split, batch_size):
                check()
                batch = batch._replace(y=cast(batch.y, parameter.dtype))
                totals.add(task.metrics(forward(model, batch, parameter.dtype, autocast), batch))
    finally:
        model.train(was_training)
    return totals.means()
