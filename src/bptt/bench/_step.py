"""One whole step of the papers' training: forward, loss, backward, clipping, Adam."""

from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from .. import flow, tasks
from .. import nn as ours
from ..streams import stream
from ._case import Case, Shape
from ._rivals import WATCHED, Contender

_PIXELS = 784  # steps of a digit; every other length is that of the copying task
_CLIP = 1.0
_LEARNING_RATE = 1e-3
_NEVER = 10**9  # steps: more than a bench takes


class Step:
    """A layer with the readout of its task, a batch, and an optimiser.

    Copying (9 classes at each step), or for 784 steps pixel MNIST (10 classes at the last), with real digits.

    Args:
        case: its sizes.
        side: the layer, which is trained.
    """

    def __init__(self, case: Case, side: Contender) -> None:
        self.task, self.batch = _task(case.shape)
        self._side = side
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(2)
            # The readout is drawn after the layer, so both sides have the same.
            self.model = ours.SequenceModel(
                side.layer, self.task.output_size, readout=self.task.readout, features=case.shape.H
            )
        self._parameters = list(self.model.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, lr=_LEARNING_RATE)
        watched = side.name in WATCHED
        self._watch = flow.watch(self.model, every=WATCHED[side.name] or _NEVER) if watched else None
        self._split = side.name == "watched-paths"
        self._number = 0

    def __call__(self) -> None:
        """Take a step."""
        paths = flow.paths(self.model, self.batch, self.task.loss) if self._split else ()
        with self._side.context():
            self.gradients()
        norm = nn.utils.clip_grad_norm_(self._parameters, _CLIP)
        self._optimizer.step()
        if self._watch is not None and self._watch.due(self._number):
            self._watch.clipped(norm.item(), min(norm.item(), _CLIP))
            reading = self._watch.take()
            if reading is not None:
                reading.with_paths(paths)

    def gradients(self) -> tuple[Tensor, Tensor]:
        """The output and the loss, once every gradient is there."""
        self._number += 1
        self._optimizer.zero_grad(set_to_none=True)
        with nullcontext() if self._watch is None else self._watch.step(self._number):
            output = self.model(self.batch.x)
            loss = self.task.loss(output, self.batch)
            loss.backward()
        return output.detach(), loss.detach()

    def found(self, keeps: Any = None) -> dict[str, Tensor]:
        """The output, the loss and every gradient, by name, under given coins."""
        with self._side.context():
            steered = nullcontext() if keeps is None else ours.steer(self.model, keeps={"core": keeps})
            with steered:
                output, loss = self.gradients()
        gradients = {
            f"the gradient of {name}": parameter.grad.clone()
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None
        }
        return {"the output": output, "the loss": loss, **gradients}


@cache
def _task(shape: Shape) -> tuple[tasks.Task, tasks.Batch]:
    if shape.T == _PIXELS:
        task = tasks.smnist_5k()
    else:
        task = tasks.copying(shape.T - 20, train_size=shape.B, valid_size=1)
    rows = torch.randint(task.sizes["train"], (shape.B,), generator=stream(0, "bench"))
    return task, task.batch("train", rows)
