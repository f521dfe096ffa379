"""The states that a recurrent layer passes through, read where its ops are called."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from .. import ops
from ._input import keys
from ._taps import Ours


@dataclass(frozen=True)
class Weights:
    """Of one layer in one direction, as `torch.nn` shapes them; None for what there is not."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    w_hr: Tensor | None


@dataclass(frozen=True)
class Trajectory:
    """What one layer in one direction read and wrote at every step of a call.

    With `T` steps of the input, `B` sequences in the caller's order, `H` hidden units and `P` outputs (H
    without a projection). In the reverse direction, the state before step t is that after step t + 1.

    Attributes:
        name, layer, direction: of the layer, as in a `Flow`.
        op: `"lstm"`, `"gru"` or `"rnn"`.
        x: the input, `(T, B, I)`.
        h, c: the state before each step, `(T, B, P)` and, of an LSTM, `(T, B, H)`.
        h_next, c_next: the state after each step.
        valid: whether the sequence has the step, `(T, B)`; beyond, the others hold anything.
        weights: those that served the call.
        nonlinearity: of an RNN, `"tanh"` or `"relu"`.
    """

    name: str
    layer: int
    direction: int
    op: str
    x: Tensor
    h: Tensor
    c: Tensor | None
    h_next: Tensor
    c_next: Tensor | None
    valid: Tensor
    weights: Weights
    nonlinearity: str

    @property
    def order(self) -> range:
        """The steps as the layer takes them."""
        T = len(self.x)
        return range(T - 1, -1, -1) if self.direction else range(T)

    def projected(self) -> tuple[Tensor, Tensor]:
        """What the gates add up, of the input and of the state: `(T, B, G·H)` each."""
        w = self.weights
        return F.linear(self.x, w.w_ih, w.b_ih), F.linear(self.h, w.w_hh, w.b_hh)

    def preactivations(self) -> dict[str, Tensor]:
        """What goes into each gate, `(T, B, H)`: i f g o, r z n, or h for the new state of an RNN."""
        x, h = self.projected()
        if self.op == "rnn":
            return {"h": x + h}
        if self.op == "gru":
            x_r, x_z, x_n = x.chunk(3, -1)
            h_r, h_z, h_n = h.chunk(3, -1)
            r = x_r + h_r
            return {"r": r, "z": x_z + h_z, "n": x_n + r.sigmoid() * h_n}
        return dict(zip("ifgo", (x + h).chunk(4, -1), strict=True))

    def gates(self, preactivations: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The gates as they were open, `(T, B, H)` each, or as other `preactivations` would open them."""
        pre = self.preactivations() if preactivations is None else preactivations
        candidate = torch.relu if self.nonlinearity == "relu" else torch.tanh
        return {gate: candidate(a) if gate in "gnh" else a.sigmoid() for gate, a in pre.items()}


@contextmanager
def followed(layers: Mapping[str, Ours]) -> Iterator[list[Trajectory]]:
    """Fill a list with the trajectories of every call of the layers in this thread, in their order.

    The tensors still belong to the graph: what is computed of them has gradients.
    """
    found: list[Trajectory] = []
    begun: list[_Begun] = []
    listener = _Listener(begun, found)
    with ExitStack() as undo:
        for name, layer in layers.items():

            def before(module: Ours, args: Any, kwargs: Any, name: str = name) -> None:
                begun.append(_Begun(name, module, args[0] if args else kwargs.get("input")))

            def after(*_: Any) -> None:
                begun.pop()

            undo.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
            undo.callback(layer.register_forward_hook(after, always_call=True).remove)
        undo.callback(ops.register_backend(listener))
        with ops.use_backend(None):
            yield found


class _Begun:
    """A layer in the middle of a call."""

    def __init__(self, name: str, layer: Ours, given: Any) -> None:
        self.name, self.layer = name, layer
        self.left = keys(layer)
        packed = given if isinstance(given, PackedSequence) else None
        self.unsorted = None if packed is None else packed.unsorted_indices


class _Listener:
    """A backend that serves a call by the others, and notes its states."""

    def __init__(self, begun: list[_Begun], found: list[Trajectory]) -> None:
        self._begun, self._found = begun, found
        self.name = f"flow-{id(self)}"
        self._thread, self._passing_on = get_ident(), False

    def missing(self) -> str | None:
        return None

    def refuses(self, call: ops.Call) -> str | None:
        del call
        listening = self._begun and not self._passing_on and get_ident() == self._thread
        return None if listening else "it only listens to measured layers"

    def run(self, call: ops.Call) -> Any:
        serve: Callable[..., Any] = getattr(ops, call.op)
        arguments = dict(call.arguments)
        wants_cells = arguments.get("return_cells", False)
        if call.op == "lstm":
            arguments["return_cells"] = True
        self._passing_on = True
        try:
            result = serve(**arguments)
        finally:
            self._passing_on = False
        y, c = result[0], result[2] if call.op == "lstm" else None
        self._found.append(_trajectory(self._begun[-1], call, y, c))
        return result if wants_cells or call.op != "lstm" else result[:2]


def _trajectory(begun: _Begun, call: ops.Call, y: Tensor, c: Tensor | None) -> Trajectory:
    given = call.arguments
    T, B = given["x"].shape[:2]
    lengths, reverse = given["lengths"], given["reverse"]
    h_0, c_0 = given["hx"] if c is not None else (given["h_0"], None)

    def in_order(tensor: Tensor) -> Tensor:
        return tensor if begun.unsorted is None else tensor.index_select(1, begun.unsorted)

    def before(after: Tensor, initial: Tensor) -> Tensor:
        initial = initial.to(after.dtype).unsqueeze(0)
        if not reverse:
            return torch.cat([initial, after[:-1]])
        if lengths is None:
            return torch.cat([after[1:], initial])
        last = (torch.arange(T, device=y.device)[:, None] == lengths.to(y.device) - 1).unsqueeze(-1)
        return torch.where(last, initial, torch.cat([after[1:], initial]))

    valid = torch.ones(T, B, dtype=torch.bool, device=y.device)
    if lengths is not None:
        valid = torch.arange(T, device=y.device)[:, None] < lengths.to(y.device)
    layer, direction = begun.left.pop(0)
    return Trajectory(
        begun.name,
        layer,
        direction,
        call.op,
        in_order(given["x"]),
        in_order(before(y, h_0)),
        None if c is None or c_0 is None else in_order(before(c, c_0)),
        in_order(y),
        None if c is None else in_order(c),
        in_order(valid),
        Weights(given["w_ih"], given["w_hh"], given["b_ih"], given["b_hh"], given.get("w_hr")),
        given.get("nonlinearity", ""),
    )
