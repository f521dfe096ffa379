"""A look at the gradients through time every so many steps of a training, cheap enough to be left on."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn import Module

from .. import nn
from ._look import Look, Reading
from ._record import followed, recurrent
from ._taps import tapped
from ._uncompiled import uncompiled


class Watch:
    """What `watch` makes."""

    def __init__(
        self, model: Module, *, every: int = 100, scaler: torch.amp.GradScaler | None = None
    ) -> None:
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(f"every must be an integer ≥ 1, got {every!r}")
        recurrent(model)
        self.every = every
        self._model, self._scaler = model, scaler
        self._hooks = ExitStack()
        self._begun: Look | None = None
        self._ended: Look | None = None

    def due(self, step: int) -> bool:
        """Whether a step is one of those looked at: `step % every == 0`."""
        return step % self.every == 0

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Look at optimiser step `number`, whose forward and backward passes are inside, if it is due."""
        self.begin(number)
        try:
            yield
        except BaseException:
            self.cancel()
            raise
        self.end()

    def begin(self, number: int) -> None:
        """Begin to look at step `number`, if it is due: for those who cannot use `with`.

        A step that was begun and not ended is forgotten.
        """
        self._hooks.close()
        self._begun = None
        if not self.due(number):
            return
        layers = recurrent(self._model)
        look = Look(number, layers, self._scaler)
        self._hooks.enter_context(uncompiled())
        self._hooks.enter_context(followed(look.replayed, layers))
        self._hooks.enter_context(tapped(nn.recurrent_layers(self._model), look.listen))
        self._begun = look

    def end(self) -> None:
        """End the step that was begun; nothing if none was."""
        if self._begun is not None:
            self._hooks.close()
            self._begun, self._ended = None, self._begun

    def cancel(self) -> None:
        """Forget the step that was begun or ended, as after an error; nothing if there is none."""
        self._hooks.close()
        self._begun = self._ended = None

    def clipped(self, before: float, after: float) -> None:
        """Tell the norm of the gradient of all weights, before and after clipping, of a step that is due."""
        look = self._begun or self._ended
        if look is not None:
            look.before, look.after = float(before), float(after)

    def take(self) -> Reading | None:
        """The reading of the last due step, once it has ended; each is given once, and else None.

        Raises:
            ReplayError: if a layer of torch.nn cannot be run again as it ran.
        """
        look, self._ended = self._ended, None
        if look is None:
            return None
        reading = look.reading()
        if not reading.layers:
            warnings.warn(
                f"no gradient was seen at step {reading.step}: forward pass and backward() must be inside",
                RuntimeWarning,
                stacklevel=2,
            )
        return reading


def watch(model: Module, *, every: int = 100, scaler: torch.amp.GradScaler | None = None) -> Watch:
    """Look at ‖dL/dh_t‖ and ‖dL/dc_t‖ of every recurrent layer at each `every`-th step of a training.

    In a step that is not due nothing is done to the model. In one that is, layers of `bptt.nn` tell their
    gradients as the backward pass makes them: outputs, gradients and random streams are bit for bit what they
    are without. Layers of `torch.nn` are run again when the reading is taken, forward and back, which doubles
    what they cost; `bptt.nn.convert` spares that.

    Equal to rounding only: what is compiled, for all of it in the process runs eagerly in such a step; and
    layers on a GPU that would go to cuDNN, for they go to other kernels.

    Args:
        model: any module with an LSTM, GRU or RNN of `bptt.nn` or `torch.nn` inside, possibly one itself.
            Under `DistributedDataParallel` each process sees its own sequences.
        every: how many optimiser steps lie between two looks.
        scaler: what the loss is scaled by; gradients are divided by its scale.

    Returns:
        A watch. Gradients are those of what `backward` is called on, mean or sum; where a step calls a layer
        or `backward` several times, as in the accumulation of gradients, the medians are over the sequences
        of all of them, each aligned at its last step.

    Raises:
        ValueError: if there is no recurrent layer, or every is no integer ≥ 1.

    Example:
        >>> import torch, bptt
        >>> lstm = bptt.nn.LSTM(2, 8)
        >>> watch = bptt.flow.watch(lstm, every=2)
        >>> for step in (1, 2):
        ...     with watch.step(step):
        ...         lstm(torch.randn(50, 4, 2))[0][-1].sum().backward()
        ...     if (reading := watch.take()) is not None:
        ...         print(reading.step, len(reading.layers[0].c))
        2 50
    """
    return Watch(model, every=every, scaler=scaler)
