from inspect import signature
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .. import ops
from ._layers import Recurrent

Readout = Literal["each", "last", "mean", "max"]


class SequenceModel(nn.Module):
    """Embedding, core and a linear readout: a model from sequences to classes or values.

    `T` steps, `B` sequences, `I` inputs, `F` features of the core, `O` outputs, all time-major.

    Args:
        core: what runs over time: a recurrent layer, or any module from `(T, B, I)` to `(y, state)` with y
            `(T, B, F)`.
        output_size: O.
        embed: what turns the input into the core's, such as `nn.Embedding` or `nn.Linear`; None for nothing.
        readout: of which features the output is made: `"each"` step's; the `"last"` valid step's; the
            `"mean"` or the `"max"` over the valid steps. (In a bidirectional core the reverse half of the
            last step has read that step only.)
        features: F; None to ask the core, which is an RNN, GRU or LSTM or has an attribute `features`.

    The readout has the dtype and device of the core's first parameter.

    Raises:
        ValueError: if a size is not positive, the readout is unknown, F is neither given nor known, or the
            core is batch-first.
    """

    def __init__(
        self,
        core: nn.Module,
        output_size: int,
        *,
        embed: nn.Module | None = None,
        readout: Readout = "each",
        features: int | None = None,
    ) -> None:
        super().__init__()
        if readout not in get_args(Readout):
            known = ", ".join(map(repr, get_args(Readout)))
            raise ValueError(f"readout must be one of {known}, got {readout!r}")
        if getattr(core, "batch_first", False):
            raise ValueError("core must be time-major, got batch_first=True")
        features = _features(core) if features is None else features
        for name, size in (("output_size", output_size), ("features", features)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        like = next(core.parameters(), None)
        self.embed = embed
        self.core = core
        self.output = nn.Linear(
            features,
            output_size,
            device=None if like is None else like.device,
            dtype=None if like is None else like.dtype,
        )
        self.readout = readout

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Outputs of a batch of sequences.

        Args:
            x: `(T, B, I)`, or tokens `(T, B)` for an embedding.
            lengths: `(B,)` integers, the steps that each sequence has, 1 ≤ length ≤ T; all of them if None.
                What x holds beyond, even NaN, reaches no output within them and no gradient.

        Returns:
            `(T, B, O)` for `"each"` (beyond a length it means nothing), else `(B, O)`.

        Raises:
            ValueError: if x is not `(T, B)` or `(T, B, ·)`, the core's input would not be `(T, B, I)`, or
                lengths are not `(B,)` or out of range.
            TypeError: if lengths are given to a core that takes none, or are no tensor of integers; if the
                core returns anything but a pair.
        """
        if x.dim() < 2:
            raise ValueError(f"x must have shape (T, B) or (T, B, I), got {tuple(x.shape)}")
        valid = None
        if lengths is not None:
            T, B = x.shape[:2]
            lengths = ops.check_lengths(lengths, T, B)
            self._check_takes_lengths()
            valid = torch.arange(T, device=x.device)[:, None] < lengths.to(x.device)
            x = torch.where(valid.view(*valid.shape, *(1,) * (x.dim() - 2)), x, 0)
        if self.embed is not None:
            x = self.embed(x)
        if x.dim() != 3:
            raise ValueError(f"the core's input must have shape (T, B, I), got {tuple(x.shape)}")
        result = self.core(x) if lengths is None else self.core(x, lengths=lengths)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(f"the core must return (y, state), got {type(result).__name__}")
        y, _ = result
        return self.output(y if self.readout == "each" else self._pooled(y, lengths, valid))

    def extra_repr(self) -> str:
        return f"readout={self.readout!r}"

    def _check_takes_lengths(self) -> None:
        if isinstance(self.core, Recurrent):
            return
        if "lengths" not in signature(self.core.forward).parameters:
            hint = " (bptt.nn.convert gives it lengths)" if isinstance(self.core, nn.RNNBase) else ""
            raise TypeError(
                "lengths must be None for a core whose forward takes none, "
                f"got {type(self.core).__name__}{hint}"
            )

    def _pooled(self, y: Tensor, lengths: Tensor | None, valid: Tensor | None) -> Tensor:
        if lengths is None or valid is None:
            return y[-1] if self.readout == "last" else y.mean(0) if self.readout == "mean" else y.amax(0)
        lengths, valid = lengths.to(y.device), valid.unsqueeze(-1)
        if self.readout == "last":
            return y[lengths - 1, torch.arange(y.shape[1], device=y.device)]
        if self.readout == "mean":
            return torch.where(valid, y, 0).sum(0) / lengths.unsqueeze(-1)
        return torch.where(valid, y, -torch.inf).amax(0)


def _features(core: nn.Module) -> int:
    if isinstance(core, nn.RNNBase):
        return (core.proj_size or core.hidden_size) * (2 if core.bidirectional else 1)
    features = getattr(core, "features", None)
    if isinstance(features, int):
        return features
    raise ValueError(
        "features must be given for a core that is no RNN, GRU or LSTM and has no int attribute `features`, "
        f"got {type(core).__name__}"
    )
