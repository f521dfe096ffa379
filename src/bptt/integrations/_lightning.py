"""`bptt.flow.watch` as a callback of Lightning."""

from math import nan
from typing import Any

import torch
from torch.optim import Optimizer
from typing_extensions import override

from .. import flow
from ._scalars import gradient_norm, scalars

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
except ImportError as error:
    raise ImportError("LightningFlow needs the package lightning: pip install lightning") from error


class LightningFlow(Callback):
    """Watch the recurrent layers of a LightningModule while it trains, and log what is seen.

    At every so many optimiser steps, of which `trainer.global_step` is the number, all loggers of the trainer
    get the norm of the gradient before and after Lightning clips it, and for each recurrent layer its
    half-life and the size of the gradient at both ends of its run; `trainer.callback_metrics` has them, too.
    Gradients are unscaled; accumulated batches are one step, and validation is none. Each process sees its
    own part of the batch, and the one that logs tells of its own. Under manual optimisation, where modules
    clip by their own hand, the norms before and after are left out.

    Args:
        every: how many optimiser steps lie between two looks, as in `bptt.flow.watch`.

    Raises:
        ImportError: at first use of the name, if lightning is not installed.
        TypeError: as a fit begins, if the trainer is none of `lightning.pytorch`, or its strategy divides the
            model between processes.
        ValueError: as a fit begins, if the module has no LSTM, GRU or RNN of `bptt.nn` or `torch.nn`, or
            every is no integer ≥ 1.
    """

    _watch: flow.Watch
    _scaler: torch.amp.GradScaler | None

    def __init__(self, every: int = 100) -> None:
        self.every = every
        self._step: int | None = None  # begun, and not yet taken
        self._after_step: Any = None

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainer must be of lightning.pytorch, got one of {type(trainer).__module__}")
        if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
            got = type(trainer.strategy).__name__
            raise TypeError(f"strategy must leave the model whole in each process, got {got}")
        self._scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._watch = flow.watch(pl_module, every=self.every, scaler=self._scaler)

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._step is None:
            self._step = trainer.global_step
            self._watch.begin(self._step)

    @override
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if not (pl_module.automatic_optimization and self._watch.due(trainer.global_step)):
            return
        before = _norm(optimizer)
        if self._scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            before /= self._scaler.get_scale()  # such an optimiser unscales as it steps
        self._watch.clipped(before, nan)  # a scaler leaves out the step of a gradient that is not finite

        def after_step(optimizer: Optimizer, *_: Any) -> None:
            self._watch.clipped(before, _norm(optimizer))

        self._after_step = optimizer.register_step_post_hook(after_step)

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._step == trainer.global_step:
            return  # more batches are to be accumulated
        self._end()
        reading = self._watch.take()
        if reading is None:
            return
        values = scalars(reading.row())
        trainer.callback_metrics.update({tag: torch.tensor(value) for tag, value in values.items()})
        for logger in trainer.loggers:
            logger.log_metrics(values, step=reading.step)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._cancel()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._cancel()

    def _cancel(self) -> None:
        began = self._step is not None
        self._end()
        if began:
            self._watch.cancel()

    def _end(self) -> None:
        if self._step is not None:
            self._watch.end()
        if self._after_step is not None:
            self._after_step.remove()
        self._step = self._after_step = None


def _norm(optimizer: Optimizer) -> float:
    return gradient_norm(each for group in optimizer.param_groups for each in group["params"])
