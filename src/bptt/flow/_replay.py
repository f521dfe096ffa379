"""A layer of torch.nn run again by ours, for the gradients inside that torch's kernels do not give."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence

from .. import nn
from ._input import Given
from ._pairs import Gradients, Receive, listen
from ._taps import Key, taps

_OURS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN_TANH": nn.RNN, "RNN_RELU": nn.RNN}


class ReplayError(RuntimeError):
    """A layer that cannot be run again as it ran."""


class Replay:
    """A call of a torch.nn LSTM, GRU or RNN as it was, and the gradients that reach its results.

    Args:
        module: what was called.
        args, kwargs: with what, of which `x` tells.
        random: the state of torch's CPU generator before the call.
        scale: of the loss, asked for as gradients come: a scaler goes on to another.
    """

    def __init__(
        self,
        module: torch.nn.RNNBase,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        x: Given,
        random: Tensor,
        scale: Callable[[], float],
    ) -> None:
        self._module, self._given, self._random = module, x._replace(data=x.data.detach()), random
        kind = x.data.device.type
        self._autocast_dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        self._args = [_detached(each) for each in args]
        self._kwargs = {name: _detached(each) for name, each in kwargs.items()}
        self._weights = {name: getattr(module, name).detach().clone() for name in module._flat_weights_names}
        self._training = module.training
        self._scale = scale
        self._results: list[Tensor] = []
        self._passes: dict[
            int, dict[int, tuple[Tensor, float]]
        ] = {}  # of each result, gradient and its scale
        self._done = 0  # backward passes that were told

    def watch(self, output: Any) -> None:
        """Note the gradients of a call's results whenever they come."""
        for place, result in enumerate(_tensors(output)):
            self._results.append(result.detach())
            if result.requires_grad:
                result.register_hook(partial(self._note, place))

    def _note(self, place: int, gradient: Tensor | None) -> None:
        if gradient is not None:  # oneDNN's LSTM tells of a result that is not used, too
            arrived = self._passes.setdefault(torch._C._current_graph_task_id(), {})
            arrived[place] = gradient, self._scale()

    def finish(self) -> list[tuple[Key, int, Gradients, float]]:
        """The gradients of every backward pass since the last time, and the scale of each.

        Raises:
            ReplayError: if the layer does not compute what it did, as with dropout on a GPU.
        """
        found: list[tuple[Key, int, Gradients, float]] = []
        for number, arrived in enumerate(self._passes.values(), start=self._done):
            cotangents, scales = zip(*arrived.values(), strict=True)

            def receive(
                key: Key, _: int, gradients: Gradients, n: int = number, scale: float = scales[0]
            ) -> None:
                found.append((key, n, gradients, scale))

            results = self._run(receive)
            torch.autograd.backward([results[place] for place in arrived], cotangents)
        self._done += len(self._passes)
        self._passes.clear()
        return found

    def _run(self, receive: Receive) -> list[Tensor]:
        module = self._module
        more = {"nonlinearity": module.nonlinearity} if module.mode.startswith("RNN") else {}
        names = ("num_layers", "bias", "batch_first", "dropout", "bidirectional")
        if module.mode == "LSTM":
            names = (*names, "proj_size")
        with torch.device("meta"):
            ours = _OURS[module.mode](
                module.input_size,
                module.hidden_size,
                **{name: getattr(module, name) for name in names},
                **more,
            ).train(self._training)
        with torch.enable_grad(), torch.random.fork_rng(devices=()), self._autocast():
            torch.set_rng_state(self._random)
            zeros = taps(ours, self._given)
            listen(zeros, receive)
            tapped = {**self._kwargs, "taps": zeros}
            results = _tensors(functional_call(ours, self._weights, tuple(self._args), tapped))
            results = [result.to(was.dtype) for result, was in zip(results, self._results, strict=True)]
        if not all(map(_near, results, self._results)):
            kind = f"{type(module).__module__.partition('.')[0]}.nn.{type(module).__name__}"
            raise ReplayError(
                f"a {kind} must compute the same again to be recorded, and does not: a hook changes its "
                "result, or there is dropout between its layers on a GPU; bptt.nn.convert makes it a layer "
                "that is recorded as it runs"
            )
        return results

    def _autocast(self) -> Any:
        kind, dtype = self._given.data.device.type, self._autocast_dtype
        return nullcontext() if dtype is None else torch.autocast(kind, dtype)


def _near(result: Tensor, was: Tensor) -> bool:
    loose = 1e-2 if was.dtype.itemsize < 4 else 1e-3
    return torch.allclose(result, was, rtol=loose, atol=loose)


def _detached(value: Any) -> Any:
    if isinstance(value, PackedSequence):
        return value._replace(data=value.data.detach())
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple | list):
        return tuple(map(_detached, value))
    return value


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, PackedSequence):
        return [output.data]
    if isinstance(output, Tensor):
        return [output]
    return [tensor for each in output for tensor in _tensors(each)]
