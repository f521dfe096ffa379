"""`bptt.flow.watch` as a callback of the Trainer of Hugging Face."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch.nn import Module
from typing_extensions import override

from .. import flow
from ._scalars import gradient_norm, scalars

try:
    from accelerate import DistributedType
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState
except ImportError as error:
    raise ImportError(
        "TransformersFlow needs the packages transformers and accelerate: pip install transformers accelerate"
    ) from error

_DIVIDED = {DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM}


class TransformersFlow(TrainerCallback):
    """Watch the recurrent layers of any model that a `transformers.Trainer` trains, and log what is seen.

    At every so many optimiser steps, counted from 1 as the trainer counts them, `trainer.log` gets the norm
    of the gradient before and after clipping, and for each recurrent layer its half-life and the size of the
    gradient at both ends of its run: they are in `trainer.state.log_history`, and wherever it reports to.
    Gradients are unscaled; accumulated batches are one step, and evaluation is none. Each process sees its
    own part of the batch, and the one that logs tells of its own.

    Args:
        trainer: the one that it is added to.
        every: how many optimiser steps lie between two looks, as in `bptt.flow.watch`.

    Raises:
        ImportError: at first use of the name, if transformers or accelerate is not installed.
        ValueError: as training begins, if the model has no LSTM, GRU or RNN of `bptt.nn` or `torch.nn`, every
            is no integer ≥ 1, or the model is divided between processes.
    """

    _watch: flow.Watch

    def __init__(self, trainer: Trainer, every: int = 100) -> None:
        self.every = every
        self._trainer = trainer
        self._patches = ExitStack()
        self._before: list[float] = []

    @override
    def on_train_begin(
        self, args: Any, state: TrainerState, control: Any, *, model: Module, **kwargs: Any
    ) -> None:
        accelerator = self._trainer.accelerator
        if accelerator.distributed_type in _DIVIDED:
            got = accelerator.distributed_type.value
            raise ValueError(f"model must be whole in each process, got {got}")
        self._watch = flow.watch(model, every=self.every, scaler=accelerator.scaler)

    @override
    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        step = state.global_step + 1
        self._patches.close()
        self._watch.begin(step)
        if self._watch.due(step):
            self._patches.enter_context(_patched(self._trainer, "training_step", self._step))
            self._before = []
            self._patches.enter_context(_patched(self._trainer.accelerator, "clip_grad_norm_", self._clip))

    @override
    def on_pre_optimizer_step(
        self, args: Any, state: TrainerState, control: Any, *, model: Module, **kwargs: Any
    ) -> None:
        self._patches.close()
        if self._before:
            self._watch.clipped(self._before[-1], gradient_norm(model.parameters()))
            self._before = []

    @override
    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._watch.end()
        reading = self._watch.take()
        if reading is not None:
            theirs = control.should_log
            self._trainer.log(scalars(reading.row()))
            control.should_log = theirs  # which any log takes back

    @override
    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self._patches.close()
        self._watch.cancel()

    def _step(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # The trainer calls nobody back after an error.
        try:
            return step(*args, **kwargs)
        except BaseException:
            self._patches.close()
            self._watch.cancel()
            raise

    def _clip(self, clip: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # The trainer calls back only after clipping, when the norm before is lost.
        norm = clip(*args, **kwargs)
        self._before.append(float(norm))
        return norm


@contextmanager
def _patched(owner: Any, name: str, by: Callable[..., Any]) -> Iterator[None]:
    """Inside, a method is `by`, which gets what it was first."""
    mine, own = name in vars(owner), getattr(owner, name)
    setattr(owner, name, partial(by, own))
    try:
        yield
    finally:
        if mine:
            setattr(owner, name, own)
        else:
            delattr(owner, name)
