"""What LSTM, GRU and RNN share: everything around the recurrence itself."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from ..detach import Coins, Detach, Keeps
from ._agreement import check_agreement
from ._packing import Layout
from ._paths import Key, PathMap, Taps, check_entries, check_keeps, check_taps

_NO_KEEPS, _NO_TAPS = Keeps(), Taps()


class Weights(NamedTuple):
    """The parameters of one layer in one direction."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    w_hr: Tensor | None


class Part(NamedTuple):
    """One layer in one direction: the arguments of its op, but for those of one kind of layer."""

    x: Tensor
    states: tuple[Tensor, ...]
    weights: Weights
    lengths: Tensor | None
    reverse: bool
    keeps: Keeps
    taps: Taps
    cells: bool


class Steering(NamedTuple):
    """What `steer` passes to a layer."""

    keeps: PathMap | None = None
    taps: PathMap | None = None


class Run(NamedTuple):
    """What a part returns."""

    y: Tensor
    states: tuple[Tensor, ...]
    cells: Tensor | None = None


class Recurrent(nn.RNNBase):
    """A stack of recurrent layers around one op.

    A subclass of `torch.nn.RNNBase` and not of `torch.nn.LSTM`: TorchDynamo refuses to trace any instance of
    the latter under `fullgraph=True`.
    """

    _kind: ClassVar[str]
    _keep_paths: ClassVar[tuple[str, ...]] = ("h", "c")
    _tap_paths: ClassVar[tuple[str, ...]] = ("h",)
    _dims_suffix: ClassVar[str] = ""  # torch.nn.RNN words one error differently
    _detach: Detach | None = None
    _coins: Coins | None = None  # the same for compiled graphs
    _steering: Steering = Steering()

    @property
    def detach(self) -> Detach | None:
        """Which gradient paths a forward pass in training blocks; may be set at any time."""
        return self._detach

    @detach.setter
    def detach(self, detach: Detach | None) -> None:
        self._check_detach(detach)
        self._detach = detach
        self._coins = None if detach is None else Coins.of(detach)

    @classmethod
    def _check_detach(cls, detach: Detach | None) -> None:
        """Raise if this kind of layer cannot obey `detach`."""
        if not isinstance(detach, Detach | None):
            given = detach if type(detach) in (int, float) and 0 < detach <= 1 else 0.25
            raise TypeError(
                f"detach must be a Detach or None, such as bptt.Detach(h={given}), got {detach!r} of type "
                f"{type(detach).__name__}"
            )
        if detach is not None and detach.c > 0 and "c" not in cls._keep_paths:
            raise ValueError(f"detach must have c = 0: {cls._kind} has no carry to block, got {detach}")

    @property
    def steering(self) -> Steering:
        """The keeps and taps that `steer` passes to the layer now."""
        return self._steering

    @property
    def _keys(self) -> list[Key]:
        """Every (layer, direction), in the order of the weights."""
        return [(layer, d) for layer in range(self.num_layers) for d in range(self._directions)]

    def _draw(
        self,
        detach: Detach,
        shape: tuple[int, int],
        *,
        generator: torch.Generator | None,
        like: Tensor,
        device: torch.device | str | None = None,
    ) -> dict[Key, Keeps]:
        """The keeps that `detach` asks for, of `(T, B) = shape`, on `device` or on that of `like`."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        place = like.device if device is None else device
        return self._deal(
            detach.shared,
            lambda: detach.sample(shape, generator=generator, device=place, dtype=dtype),
        )

    def _deal(self, shared: bool, toss: Callable[[], Keeps]) -> dict[Key, Keeps]:
        def one() -> Keeps:
            keeps = toss()
            return keeps if "c" in self._keep_paths else Keeps(keeps.h)

        return dict.fromkeys(self._keys, one()) if shared else {key: one() for key in self._keys}

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self._detach is None else f", detach={self._detach}")

    def __getstate__(self) -> dict[str, Any]:
        """The state for pickle and deepcopy; a copy made inside `steer` would never leave it."""
        state = super().__getstate__()
        state.pop("_steering", None)
        return state

    def flatten_parameters(self) -> None:
        """Do nothing: the ops take weights wherever they lie. Here for code written for `torch.nn`."""

    @property
    def _flat_weights(self) -> list[Tensor | None]:
        """The weights as they are now: torch's checks read them here, and no copy can be out of date."""
        return [getattr(self, name, None) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor | None]) -> None:
        """Forget the list that torch's methods keep here."""

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _weights(self, layer: int, direction: int) -> Weights:
        plain: dict[str, Any] = self._parameters
        names = self._all_weights[layer * self._directions + direction]
        w_ih, w_hh, *rest = [plain[name] if name in plain else getattr(self, name) for name in names]
        b_ih, b_hh = rest[:2] if self.bias else (None, None)
        return Weights(w_ih, w_hh, b_ih, b_hh, rest[-1] if self.proj_size else None)

    def _split(self, hx: Any) -> tuple[Tensor, ...]:
        """The states that the caller gives as `hx`."""
        return (hx,)

    def _join(self, states: Sequence[Tensor]) -> Any:
        """The states as the caller gets them."""
        return states[0]

    def _zeros(self, x: Tensor) -> tuple[Tensor, ...]:
        """The initial states of one layer and direction, if there are none."""
        return (x.new_zeros(x.shape[1], self.proj_size or self.hidden_size),)

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raise if the dimensions, the width or the dtype of the input are wrong."""
        dims = 3 if batch_sizes is None else 2
        fits = input.dim() == dims and input.shape[-1] == self.input_size
        weight = self._parameters.get("weight_ih_l0")  # at a tenth of the price of getattr
        if not fits or weight is None or input.dtype != weight.dtype:
            super().check_input(input, batch_sizes)

    def _recur(self, part: Part) -> Run:
        raise NotImplementedError

    def _run(
        self,
        sequences: Tensor | PackedSequence,
        hx: Any,
        lengths: Tensor | None,
        keeps: PathMap | None,
        taps: PathMap | None,
        *,
        cells: bool = False,
    ) -> tuple[Tensor | PackedSequence, Any, Tensor | PackedSequence | None]:
        """Output, states and, if asked for, the cells of the last layer, all as the sequences lie."""
        layout = self._layout(sequences, lengths)
        data = layout.with_batch(sequences.data if isinstance(sequences, PackedSequence) else sequences)
        given = None if hx is None else self._given_states(hx, layout)
        if given is None:
            self.check_input(data, layout.batch_sizes)
        else:
            self.check_forward_args(data, self._join(given), layout.batch_sizes)
        keys = self._keys
        weights = [self._weights(*key) for key in keys]
        for each in weights:
            check_agreement(data, "parameter", each)
        check_agreement(data, "hidden", given or ())
        x, lengths = layout.open(data, lengths)
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        kept = self._keeps(self._steering.keeps if keeps is None else keeps, x, layout)
        tapped = self._taps(self._steering.taps if taps is None else taps, x, layout)
        if given is None:
            initial = [self._zeros(x)] * len(keys)
        else:
            initial = list(zip(*(layout.open_state(state).unbind(0) for state in given), strict=True))

        runs: list[Run] = []
        finals: list[tuple[Tensor, ...]] = []
        top = self.num_layers - 1
        for layer in range(self.num_layers):
            runs = [
                self._recur(
                    Part(
                        x,
                        initial[place],
                        weights[place],
                        lengths,
                        reverse=key[1] == 1,
                        keeps=kept.get(key, _NO_KEEPS),
                        taps=tapped.get(key, _NO_TAPS),
                        cells=cells and layer == top,
                    )
                )
                for place, key in enumerate(keys)
                if key[0] == layer
            ]
            finals += [run.states for run in runs]
            x = _side_by_side([run.y for run in runs])
            if layer < top and self.dropout > 0 and self.training:
                x = F.dropout(x, self.dropout)
        last = [layout.close_state(torch.stack(series)) for series in zip(*finals, strict=True)]
        every_cell = [run.cells for run in runs if run.cells is not None]
        return (
            layout.close(x, lengths),
            self._join(last),
            layout.close(_side_by_side(every_cell), lengths) if every_cell else None,
        )

    def _layout(self, sequences: Tensor | PackedSequence, lengths: Tensor | None) -> Layout:
        batch_dim = 0 if self.batch_first else 1
        if isinstance(sequences, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths must be None beside a PackedSequence, which has its own")
            return Layout(batch_dim, packed=sequences)
        dims = sequences.dim()
        if dims not in (2, 3):
            raise ValueError(
                f"{self._kind}: Expected input to be 2D or 3D, got {dims}D{self._dims_suffix} instead"
            )
        return Layout(batch_dim, batched=dims == 3)

    def _given_states(self, hx: Any, layout: Layout) -> tuple[Tensor, ...]:
        states = self._split(hx)
        if layout.packed is not None:
            return states
        dims = 3 if layout.batched else 2
        if any(state.dim() != dims for state in states):
            names, got = self._dims_text(states)
            batched = "batched" if layout.batched else "unbatched"
            raise RuntimeError(f"For {batched} {dims}-D input, {names} should also be {dims}-D but got {got}")
        return states if layout.batched else tuple(state.unsqueeze(1) for state in states)

    def _dims_text(self, states: Sequence[Tensor]) -> tuple[str, str]:
        return "hx", f"{states[0].dim()}-D tensor"

    def _keeps(self, given: PathMap | None, x: Tensor, layout: Layout) -> dict[Key, Keeps]:
        T, B = x.shape[:2]
        if given is not None:
            pairs = check_entries("keeps", given, layer=self._kind, keys=self._keys, paths=self._keep_paths)
            check_keeps(pairs, T, B)
        elif not self.training:
            return {}
        elif torch.compiler.is_compiling():
            coins = self._coins
            if coins is None:
                return {}
            dtype = torch.promote_types(x.dtype, torch.float32)
            pairs = self._deal(coins.shared, lambda: coins.sample((T, B), device=x.device, dtype=dtype))
        elif self._detach is not None and self._detach.active:
            detach = self._detach
            drawn = self._draw(detach, (T, B), generator=None, like=x)
            # A path that is never blocked needs no keep.
            pairs = {
                key: (keep.h if detach.h > 0 else None, keep.c if detach.c > 0 else None)
                for key, keep in drawn.items()
            }
        else:
            return {}
        return {key: Keeps(*map(layout.open_columns, pair)) for key, pair in pairs.items()}

    def _taps(self, given: PathMap | None, x: Tensor, layout: Layout) -> dict[Key, Taps]:
        if given is None:
            return {}
        pairs = check_entries("taps", given, layer=self._kind, keys=self._keys, paths=self._tap_paths)
        T, B = x.shape[:2]
        check_taps(pairs, T, B, P=self.proj_size or self.hidden_size, H=self.hidden_size)
        return {key: Taps(*map(layout.open_columns, pair)) for key, pair in pairs.items()}


def _side_by_side(directions: Sequence[Tensor]) -> Tensor:
    return directions[0] if len(directions) == 1 else torch.cat(list(directions), -1)
