"""`bptt.flow.watch` as a callback of the Trainer of Hugging Face."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch.nn import Module
from typing_extensions import override

from .. import flow
from ._scalars import gradient_norm, scalars

try:
    from accelerate import Accelerator, DistributedType
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
        self._clipping = ExitStack()
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
        self._clipping.close()
        self._watch.begin(step)
        if self._watch.due(step):
            self._before = self._clipping.enter_context(_norms_of_clipping(self._trainer.accelerator))

    @override
    def on_pre_optimizer_step(
        self, args: Any, state: TrainerState, control: Any, *, model: Module, **kwargs: Any
    ) -> None:
        self._clipping.close()
        if self._watch.due(state.global_step + 1):
            self._watch.clipped(self._before[-1], gradient_norm(model.parameters()))

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
        self._clipping.close()
        self._watch.end()


@contextmanager
def _norms_of_clipping(accelerator: Accelerator) -> Iterator[list[float]]:
    """What clipping returns, noted: the trainer calls back only after it, when the norm before is lost."""
    clip: Callable[..., Any] = accelerator.clip_grad_norm_
    found: list[float] = []

    def noted(*args: Any, **kwargs: Any) -> Any:
        norm = clip(*args, **kwargs)
        found.append(float(norm))
        return norm

    accelerator.clip_grad_norm_ = noted
    try:
        yield found
    finally:
        del accelerator.clip_grad_norm_
