"""Where NaN and Inf begin: the first value of a forward and a backward pass that is not finite."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.utils.rnn import PackedSequence

from .. import nn
from ._copied import Call, called, copied, scalar
from ._faults import Fault, backward_fault, forward_fault
from ._found import NonFinite, Pass
from ._pairs import Gradients, listen
from ._places import Part, Places, parts
from ._taps import Key, tapped
from ._trajectory import Trajectory, followed
from ._uncompiled import uncompiled


def first_nonfinite(
    model: Module, batch: Any, loss: Callable[[Tensor, Any], Tensor], *, call: Call = called
) -> NonFinite | None:
    """Find the first NaN or Inf of a forward and a backward pass: step, layer, gate and pass.

    In the forward pass it looks at the batch, the parameters, the output of every module, within recurrent
    layers at every step, and the loss; in the backward pass at the gradients of outputs and, from the last
    step to the first, of states and gates, and at last at those of the parameters. It stops at the first. The
    backward pass is outside of autocast, as torch asks.
    Pre-activations are computed again from the states, in the dtype of the layer. Padding is no part of a
    packed sequence, nor of a batch with a part `lengths`. An infinity that is meant, such as that of a mask
    in the batch, counts like any other.

    Args:
        model: any module; its recurrent layers may be of `bptt.nn` or `torch.nn`. It is copied and left as it
            is, in its mode, with its dropout and detachment if it is training.
        batch: as in `lag_profile`, or any tuple or map of tensors that `call` can use.
        loss: of the output and the batch: a scalar.
        call: as in `lag_profile`. What it raises once a value is not finite is not raised here.

    Returns:
        The value and what was before it; None if all are finite.

    Raises:
        ValueError: if the loss is no scalar with a gradient.
        TypeError: if a layer of torch.nn is none that `bptt.nn.convert` knows.

    Example:
        >>> import torch, bptt
        >>> lstm = bptt.nn.LSTM(2, 8)
        >>> x = torch.zeros(50, 4, 2)
        >>> x[17, 3] = torch.nan
        >>> found = bptt.flow.first_nonfinite(lstm, x, lambda y, _: y.mean())
        >>> found.during, found.what, found.step, found.sequence
        ('forward', 'batch', 17, 3)
    """
    with copied(model, recurrent=False, half=True) as mine, uncompiled():
        for ours, theirs in zip(mine.parameters(), model.parameters(), strict=True):
            ours.requires_grad_(theirs.requires_grad).grad = None
        return _Search(mine, batch).run(call, loss)


class _FoundError(Exception):
    """Ends a pass, since what comes later does not matter."""


class _Search:
    def __init__(self, model: Module, batch: Any) -> None:
        self._model, self._batch = model, batch
        self._layers = nn.recurrent_layers(model)
        batch_first = any(layer.batch_first for layer in self._layers.values())
        self._places = Places.of(batch, batch_first=batch_first, recurrent=bool(self._layers))
        self._found: NonFinite | None = None
        self._calls: Counter[str] = Counter()
        self._taps: dict[str, dict[Key, nn.Taps]] = {}  # of calls that have begun
        self._leaves: list[Tensor] = []
        self._numbers: dict[tuple[Any, int], int] = {}  # of outputs, told apart by their node in the graph
        self._outputs: dict[int, tuple[str, int, Part]] = {}  # by number: module, call and value
        self._runs: dict[tuple[str, int, Key], Trajectory] = {}
        self._last: tuple[str, Part] | None = None  # gradient that arrived

    def run(self, call: Call, loss: Callable[[Tensor, Any], Tensor]) -> NonFinite | None:
        try:
            self._before()
            with self._listening():
                output = call(self._model, self._batch)
                value = loss(output, self._batch)
                self._losses(value, output)
                self._leaves += [each for each in self._model.parameters() if each.requires_grad]
                with torch.autocast(scalar(value).device.type, enabled=False):
                    value.backward(inputs=self._leaves)
            for name, parameter in self._model.named_parameters():
                self._weight("backward", name, parameter.grad)
        except Exception:
            if self._found is None:
                raise
        finally:
            for held in (self._runs, self._numbers, self._outputs, self._leaves):
                held.clear()  # hooks of tensors hold this search: the graph would hold itself
        return self._found

    def _before(self) -> None:
        for name, part in parts(self._batch):
            self._whole("forward", "batch", name, part)
        for name, parameter in self._model.named_parameters():
            self._weight("forward", name, parameter)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        with ExitStack() as hooks, followed(self._layers) as runs, tapped(self._layers, self._begun):
            for name, module in self._model.named_modules():
                recurrent = name in self._layers
                hook = partial(self._recurred, name, runs) if recurrent else partial(self._returned, name)
                hooks.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
            yield

    def _begun(self, name: str, _: Any, taps: dict[Key, nn.Taps]) -> None:
        self._taps[name] = taps
        self._leaves += [tap for each in taps.values() for tap in each if tap is not None]

    def _returned(self, name: str, module: Module, args: Any, kwargs: Any, output: Any) -> None:
        del module
        number = self._count(name)
        given = list(parts([*args, *kwargs.values()]))
        for _, part in parts(output):
            spot = self._places.first(part)
            if spot is not None:
                for _, each in given:
                    self._whole("forward", "input", name, each, call=number)
                before = {f"input {key}": self._places.row(each, spot) for key, each in given}
                self._whole("forward", "output", name, part, before, call=number)
            self._await(name, number, part)

    def _recurred(
        self, name: str, runs: list[Trajectory], module: Module, args: Any, kwargs: Any, output: Any
    ) -> None:
        del module, args, kwargs
        number = self._count(name)
        taps = self._taps.pop(name, {})
        for at in runs:
            fault = forward_fault(at)
            if fault is not None:
                self._inside("forward", at, number, fault)
            self._runs[at.name, number, (at.layer, at.direction)] = at
        runs.clear()
        listen(taps, partial(self._flowed, name, number))
        self._await(name, number, output[0])

    def _count(self, name: str) -> int:
        self._calls[name] += 1
        return self._calls[name] - 1

    def _losses(self, value: Any, output: Any) -> None:
        if isinstance(value, Tensor):
            before = {"output": output.detach()} if isinstance(output, Tensor) else {}
            self._whole("forward", "loss", "", value, before)

    def _await(self, name: str, call: int, part: Part) -> None:
        """Look at the gradient of an output; what several modules return is that of the outermost."""
        data = part.data if isinstance(part, PackedSequence) else part
        if data.grad_fn is None:
            return
        value = part._replace(data=data.detach()) if isinstance(part, PackedSequence) else data.detach()
        number = self._numbers.setdefault((data.grad_fn, data.output_nr), len(self._outputs))
        if number == len(self._outputs):
            data.register_hook(partial(self._arrived, number))
        self._outputs[number] = name, call, value

    def _arrived(self, number: int, gradient: Tensor | None) -> None:
        if gradient is None:  # nothing of it reaches the loss
            return
        name, call, value = self._outputs[number]
        part = value._replace(data=gradient) if isinstance(value, PackedSequence) else gradient
        padding = name not in self._layers  # theirs reaches nothing
        spot = self._places.first(part, padding=padding)
        if spot is not None:
            before = {"output": self._places.row(value, spot)}
            if self._last is not None:
                before[self._last[0]] = self._places.row(self._last[1], spot)
            self._whole("backward", "output", name, part, before, padding=padding, call=call)
        self._last = f"gradient of {name!r}" if name else "gradient of the output", part

    def _flowed(self, name: str, call: int, key: Key, backward: int, gradients: Gradients) -> None:
        del backward
        fault = backward_fault(self._runs[name, call, key], gradients)
        if fault is not None:
            self._inside("backward", self._runs[name, call, key], call, fault)
        h = gradients["h"].transpose(0, 1) if self._places.batch_first else gradients["h"]
        self._last = f"gradient of h of layer {key[0]} of {name!r}", h

    def _weight(self, during: Pass, name: str, values: Tensor | None) -> None:
        spot = None if values is None else self._places.first(values, padding=True)
        if spot is not None:
            self._end(NonFinite(during, "parameter", name, spot.value, spot.index, {}))

    def _whole(
        self,
        during: Pass,
        what: str,
        name: str,
        part: Part,
        before: Mapping[str, Tensor] | None = None,
        *,
        padding: bool = False,
        call: int | None = None,
    ) -> None:
        """End the search if a tensor is not finite."""
        spot = self._places.first(part, padding=padding)
        if spot is not None:
            found = NonFinite(during, what, name, spot.value, spot.index, before or {}, call)
            self._end(replace(found, step=spot.step, sequence=spot.sequence))

    def _inside(self, during: Pass, at: Trajectory, call: int, fault: Fault) -> None:
        step, sequence = fault.index[:2] if len(fault.index) == 3 else (None, None)
        found = NonFinite(during, fault.what, at.name, fault.value, fault.index, fault.before, call)
        found = replace(found, layer=at.layer, direction=at.direction, gate=fault.gate)
        self._end(replace(found, step=step, sequence=sequence))

    def _end(self, found: NonFinite) -> None:
        self._found = self._found or found
        raise _FoundError
