"""Recording how large gradients are at every time step, while a model trains as it does."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch.nn import Module, RNNBase

from .. import nn
from ._copied import check_module
from ._flows import Call, Flow
from ._input import Given, given
from ._pairs import Gradients, listen
from ._replay import Replay
from ._taps import Key, tapped
from ._uncompiled import uncompiled


class Recording:
    """What `record` sees: it fills with every backward pass, and stays."""

    def __init__(self, full: bool, scale: Callable[[], float]) -> None:
        self._full, self._scale = full, scale
        self._flows: list[Flow] = []
        self._replays: list[tuple[Callable[[], Call], Replay]] = []
        self._calls: dict[str, int] = {}

    @property
    def flows(self) -> tuple[Flow, ...]:
        """One for every layer, direction, call and backward pass that reached it.

        Raises:
            ReplayError: if a layer of torch.nn cannot be run again as it ran.
        """
        for call, replay in self._replays:
            for key, backward, gradients, scale in replay.finish():
                self._flows.append(call().flow(key, backward, gradients, scale, self._full))
        return tuple(self._flows)

    def _add(self, call: Callable[[], Call], key: Key, backward: int, gradients: Gradients) -> None:
        self._flows.append(call().flow(key, backward, gradients, self._scale(), self._full))

    def _listen(self, name: str, x: Given, taps: Mapping[Key, nn.Taps]) -> None:
        listen(taps, partial(self._add, self._begin(name, x.lengths)))

    def _begin(self, name: str, lengths: torch.Tensor | None) -> Callable[[], Call]:
        """A call, numbered as it begins; in a backward pass, only when a gradient reaches it.

        There checkpointing runs a call again, whose gradients mostly reach the first one.
        """
        call = cache(partial(_numbered, self._calls, name, lengths))
        if torch._C._current_graph_task_id() == -1:
            call()
        return call


def _numbered(calls: dict[str, int], name: str, lengths: torch.Tensor | None) -> Call:
    number = calls.get(name, 0)
    calls[name] = number + 1
    return Call(name, number, lengths)


@contextmanager
def record(
    model: Module, *, full: bool = False, scaler: torch.amp.GradScaler | None = None
) -> Iterator[Recording]:
    """Record ‖dL/dh_t‖ and ‖dL/dc_t‖ of every recurrent layer in a model, for each forward call inside.

    The gradients are those of whatever `backward` is called on, mean or sum. Nothing of the model changes:
    outputs, gradients, `.grad` and random streams are what they are without. Layers of `bptt.nn` are recorded
    as they run; those of `torch.nn` are run again with the same weights, when the recording is read. Inside,
    everything in the process that is compiled runs eagerly.

    Args:
        model: any module with an LSTM, GRU or RNN of `bptt.nn` or `torch.nn` inside, possibly one itself.
        full: also keep the gradients themselves.
        scaler: what the loss is scaled by; recorded gradients are divided by its scale.

    Yields:
        The recording.

    Raises:
        ValueError: if there is no recurrent layer.

    Example:
        >>> import torch, bptt
        >>> lstm = bptt.nn.LSTM(2, 8)
        >>> with bptt.flow.record(lstm) as recording:
        ...     lstm(torch.randn(50, 4, 2))[0][-1].sum().backward()
        >>> recording.flows[0].h.shape
        torch.Size([50, 4])
    """
    layers = recurrent(model)
    recording = Recording(full, (lambda: 1.0) if scaler is None else scaler.get_scale)
    with (
        uncompiled(),
        followed(recording, layers),
        tapped(nn.recurrent_layers(model), recording._listen),
    ):
        yield recording


def recurrent(model: Module) -> dict[str, RNNBase]:
    """Every recurrent layer in a model, ours and torch's, by module name.

    Raises:
        TypeError: if it is no module.
        ValueError: if there is none.
    """
    check_module(model)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, RNNBase)}
    if not layers:
        raise ValueError(
            "model must have an LSTM, GRU or RNN of bptt.nn or torch.nn to record, got "
            f"{type(model).__name__} without"
        )
    return layers


@contextmanager
def followed(recording: Recording, layers: Mapping[str, RNNBase]) -> Iterator[None]:
    """Note every call of those layers that are torch's, to run it again when the recording is read."""
    with ExitStack() as hooks:
        for name, layer in layers.items():
            if not isinstance(layer, nn.LSTM | nn.GRU | nn.RNN):
                for handle in _hooked(recording, name, layer):
                    hooks.callback(handle.remove)
        yield


def _hooked(recording: Recording, name: str, layer: RNNBase) -> Iterator[Any]:
    random: list[torch.Tensor] = []

    def before(module: Module, args: Any) -> None:
        del module, args
        random[:] = [torch.get_rng_state()]

    def after(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        x = given(module, args, kwargs)
        if x is None or not torch.is_grad_enabled():
            return
        replay = Replay(module, args, kwargs, x, random[0], recording._scale)
        replay.watch(output)
        recording._replays.append((recording._begin(name, x.lengths), replay))

    yield layer.register_forward_pre_hook(before)
    yield layer.register_forward_hook(after, with_kwargs=True)
