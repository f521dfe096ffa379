"""The measures of an examination as named arrays."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.utils.rnn import PackedSequence

from .. import nn
from ..streams import stream
from ._copied import Call, copied
from ._diagnose import Diagnosis
from ._facts import place_of, split_by_lag
from ._flows import key_of, median_of, norms
from ._gates import gates
from ._input import Given
from ._lags import LagProfile
from ._lyapunov import lyapunov
from ._reach import reach, usual_probes
from ._spectrum import spectrum
from ._taps import tapped_once

Arrays = dict[str, np.ndarray]
Kind = Literal["text", "image", "tokens", "values"]

_EXPONENTS = 8
_POSITIONS = {"text": 128, "tokens": 128, "image": 6, "values": 12}  # of the output, whose reach is shown
_FEWEST, _STEPS_BACK = 6, 250_000  # of these positions, and steps of all their backward passes
_FORGET = 4000  # gate values of a histogram
_MOST_WORK = 2e11  # multiplications of a series of Jacobians, some minutes


@dataclass(frozen=True)
class Subject:
    """What is examined: the arguments of `examine`, with the sample found.

    Raises:
        ValueError: if text or image do not fit the sample.
    """

    model: Module
    batch: Any
    loss: Callable[[Tensor, Any], Tensor]
    call: Call
    batch_first: bool
    given: Any
    text: str | None
    image: tuple[int, int] | None

    def __post_init__(self) -> None:
        if self.text is None and self.image is None:
            return
        told = len(self.text) if self.text is not None else self.image[0] * self.image[1] if self.image else 0
        if told != self.steps:
            raise ValueError(
                f"text or image must have as many parts as the sample has steps, {self.steps}, got {told}"
            )

    @property
    def sample(self) -> Any:
        """A batch of one sequence; the batch itself where it is no tensor, or none of tensors."""
        if self.given is not None:
            return self.given
        x = self.batch[0] if isinstance(self.batch, tuple | list) else self.batch
        if isinstance(self.batch, PackedSequence) or not isinstance(x, Tensor) or x.dim() < 2:
            return self.batch
        if x.is_floating_point() and x.dim() == 2:  # a sequence alone
            return self.batch
        B = x.shape[0 if self.batch_first else 1]

        def first(part: Any) -> Any:
            if not isinstance(part, Tensor) or B not in part.shape[:2]:
                return part
            return part[:1] if part.dim() == 1 or self.batch_first else part[:, :1]

        if not isinstance(self.batch, tuple | list):
            return first(self.batch)
        make = getattr(type(self.batch), "_make", type(self.batch))
        return make(map(first, self.batch))

    @property
    def input(self) -> Tensor:
        """The sample's input.

        Raises:
            TypeError: if it is no tensor.
        """
        sample = self.sample
        x = (
            sample
            if isinstance(sample, PackedSequence) or not isinstance(sample, tuple | list)
            else sample[0]
        )
        if not isinstance(x, Tensor):
            raise TypeError(f"the input must be a tensor to be shown, got {type(x).__name__}")
        return x

    @property
    def steps(self) -> int:
        """How many the sample has."""
        alone = self.input.dim() < 2 or (self.input.is_floating_point() and self.input.dim() == 2)
        return self.input.shape[1 if self.batch_first and not alone else 0]

    @property
    def kind(self) -> Kind:
        """What the input is to people."""
        if self.text is not None or self.image is not None:
            return "text" if self.text is not None else "image"
        try:
            return "values" if self.input.is_floating_point() else "tokens"
        except TypeError:
            return "values"


def measured(
    subject: Subject, diagnosis: Diagnosis, tell: Callable[[str], None]
) -> tuple[Arrays, dict[str, str]]:
    """Every array, and what could not be measured, with the reason."""
    arrays = {key: each for profile in diagnosis.profiles for key, each in _by_lag(profile)}
    missing: dict[str, str] = {}
    measures: dict[str, Callable[[Subject, Diagnosis], Iterator[tuple[str, np.ndarray]]]] = {
        "reach": _reach,
    }
    if diagnosis.verdicts[0].of != "input":
        measures |= {
            "gradients over time": _over_time,
            "both paths": _paths,
            "gates": _gates,
            "step Jacobians": _spectra,
            "Lyapunov exponents": _exponents,
        }
    for name, measure in measures.items():
        tell(name)
        try:
            arrays |= dict(measure(subject, diagnosis))
        except Exception as error:  # the verdict stands, and what is missing is said
            missing[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return arrays, missing


def training_arrays(rows: Sequence[Mapping[str, Any]]) -> Arrays:
    """What a watch saw, each with the steps at which it did.

    Of a layer, these are the steps at which it kept the time steps that it kept most often.
    """
    found = {"training/steps": _array([row["step"] for row in rows])} if rows else {}
    told = [row for row in rows if row["before"] is not None]
    if told:
        found["training/clip_steps"] = _array([row["step"] for row in told])
        for end in ("before", "after"):
            found[f"training/{end}"] = _array([_number(row[end]) for row in told])
    for key in sorted({key for row in rows for key in row["layers"]}):
        seen = {row["step"]: row["layers"][key] for row in rows if key in row["layers"]}
        (kept, _), *_ = Counter(tuple(each["t"]) for each in seen.values()).most_common(1)
        seen = {step: each for step, each in seen.items() if tuple(each["t"]) == kept}
        place = f"training/{key}"
        found[f"{place}/t"] = _array(kept)
        found[f"{place}/half_life"] = _array([_number(each["half_life"]) for each in seen.values()])
        for name, paths in (("steps", ("h", "c")), ("split_steps", ("carry", "gates"))):
            there = {step: each for step, each in seen.items() if paths[0] in each}
            if there:
                found[f"{place}/{name}"] = _array(list(there))
            for path in paths:
                if lines := [each[path] for each in there.values() if path in each]:
                    found[f"{place}/{path}"] = _array([[_number(v) for v in line] for line in lines])
    return found


def _by_lag(profile: LagProfile) -> Iterator[tuple[str, np.ndarray]]:
    place, depth = f"lag/{key_of(*place_of(profile))}", int(profile.depth.max())
    for state in ("h", "c") if profile.c is not None else ("h",):
        low, high = profile.band(state)
        for suffix, values in (("", profile.median(state)), ("_low", low), ("_high", high)):
            yield f"{place}/{state}{suffix}", _array(values[:depth])


def _over_time(subject: Subject, _: Diagnosis) -> Iterator[tuple[str, np.ndarray]]:
    with copied(subject.model) as mine:
        with tapped_once(nn.recurrent_layers(mine)) as calls:
            loss = subject.loss(subject.call(mine, subject.batch), subject.batch).mean()
        for name, each in calls.items():
            there = _there(each.given)
            for (layer, direction), taps in each.taps.items():
                key = key_of(name, layer, direction)
                states = {path: tap for path, tap in taps._asdict().items() if tap is not None}
                found = torch.autograd.grad(
                    loss, list(states.values()), retain_graph=True, materialize_grads=True
                )
                for state, gradient in zip(states, found, strict=True):
                    yield f"time/{key}/{state}", _array(median_of(norms(gradient), there))
                size = found[-1].double().abs()
                yield f"unit/{key}", _array((size * there.unsqueeze(-1)).sum(1) / there.sum(1, keepdim=True))


def _paths(subject: Subject, diagnosis: Diagnosis) -> Iterator[tuple[str, np.ndarray]]:
    split = split_by_lag(subject.model, subject.batch, subject.loss, diagnosis.profiles, subject.call)
    for profile in diagnosis.profiles:
        each = split.get(place_of(profile))
        if each is None:
            continue
        depth = int(profile.depth.max())
        for path in ("carry", "gates"):
            by_lag = profile.lagged(norms(getattr(each, path)))[:depth]
            yield f"lag/{key_of(*place_of(profile))}/{path}", _array(median_of(by_lag))


def _reach(subject: Subject, _: Diagnosis) -> Iterator[tuple[str, np.ndarray]]:
    x, steps = subject.input, subject.steps

    def asked(at: Sequence[int] | None) -> Any:
        return reach(
            subject.model,
            subject.sample,
            at=at,
            batch_first=subject.batch_first,
            call=subject.call,
        )

    with copied(subject.model, recurrent=False) as mine, torch.no_grad():
        output = subject.call(mine, subject.sample)
    passes = usual_probes(output) or output.shape[-1]  # of each position
    most = min(_POSITIONS[subject.kind], max(_FEWEST, _STEPS_BACK // (steps * passes)))
    wanted = torch.linspace(0, steps - 1, min(steps, most)).round().int().tolist()
    found = asked(None if output.dim() == 2 else wanted)
    yield "reach/at", np.asarray([steps - 1] if found.at is None else found.at)
    yield "reach/norms", _array(found.norms[..., 0])
    if found.probes is not None:
        yield "reach/probes", np.asarray([found.probes])
    shown = x[0] if subject.batch_first else x[:, 0]
    if shown.dim() == 1 or shown.shape[1] == 1:
        yield "reach/input", _array(shown.reshape(steps))


def _gates(subject: Subject, _: Diagnosis) -> Iterator[tuple[str, np.ndarray]]:
    for each in gates(subject.model, subject.batch, full=True, call=subject.call):
        place = f"gates/{key_of(*place_of(each))}"
        for gate, share in each.saturated.items():
            yield f"{place}/saturated/{gate}", _array(share)
        if each.memory is None or each.values is None:
            continue
        yield f"{place}/memory", _array(torch.stack([each.quantile(q, "memory") for q in (0.1, 0.5, 0.9)], 1))
        kept = each.values["f" if "f" in each.values else "z"].flatten().cpu()
        kept = kept[~kept.isnan()]
        drawn = torch.randperm(len(kept), generator=stream(0, "flow.forget"), device="cpu")[:_FORGET]
        yield f"{place}/forget", _array(kept[drawn.sort().values])


def _spectra(subject: Subject, diagnosis: Diagnosis) -> Iterator[tuple[str, np.ndarray]]:
    _check_work(subject.model, diagnosis.profiles[0].h.shape[1])
    for each in spectrum(subject.model, subject.sample, sequences=[0], call=subject.call):
        place = f"spectrum/{key_of(*place_of(each))}"
        yield f"{place}/steps", np.asarray(each.at)
        for name in ("singular", "radius", "condition", "products"):
            values = getattr(each, name)
            yield f"{place}/{name}", _array(values[:, 0])
        gate = next(gate for gate in ("g", "n", "h") if gate in each.eigenvalues)
        yield f"{place}/eigenvalues", _array(torch.view_as_real(each.eigenvalues[gate]))
        yield f"{place}/weight_singular", _array(each.weight_singular[gate])


def _exponents(subject: Subject, _: Diagnosis) -> Iterator[tuple[str, np.ndarray]]:
    widths = [each.hidden_size for each in subject.model.modules() if isinstance(each, torch.nn.RNNBase)]
    for each in lyapunov(subject.model, subject.sample, min(_EXPONENTS, *widths), call=subject.call):
        place = f"lyapunov/{key_of(*place_of(each))}"
        yield f"{place}/exponents", _array(each.mean)
        yield f"{place}/running", _array(each.running_mean)


def _check_work(model: Module, steps: int) -> None:
    layers = [each for each in model.modules() if isinstance(each, torch.nn.RNNBase)]
    size = max(each.hidden_size * (2 if each.mode == "LSTM" else 1) for each in layers)
    if (work := 30 * steps * size**3) > _MOST_WORK:
        raise ValueError(
            f"{steps} Jacobians of {size} × {size} take {work:.0e} multiplications, more than "
            f"{_MOST_WORK:.0e}; bptt.flow.spectrum takes them"
        )


def _there(given: Given) -> Tensor:
    """Whether the sequences have the steps, `(T, B)`."""
    device = given.data.device
    if given.lengths is None:
        return torch.ones(given.T, given.B, dtype=torch.bool, device=device)
    return torch.arange(given.T, device=device)[:, None] < given.lengths.to(device)


def _number(value: Any) -> float:
    return torch.nan if value is None else value


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        return values.detach().double().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
