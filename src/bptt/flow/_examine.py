"""Every measure of a model at once, with its verdict: what the page of gradient flow is drawn from."""

import hashlib
import io
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module, RNNBase

from .._versions import installed
from ..detach import Detach
from ._copied import Call, called, check_module, copied
from ._decay import Decay
from ._diagnose import Diagnosis, diagnose
from ._series import Subject, measured, training_arrays
from ._verdict import Verdict

FORMAT = 2


@dataclass(frozen=True)
class Examination:
    """All that was measured of a model.

    Attributes:
        diagnosis: the verdicts.
        document: what goes into `flow.json`: the verdicts, how they came about, what the input is.
        arrays: what goes into `flow.npz`, by name.
    """

    diagnosis: Diagnosis
    document: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    def with_training(self, rows: Sequence[Mapping[str, Any]]) -> "Examination":
        """The same beside what a watch saw during training, rows as `Reading.row` makes them."""
        return Examination(self.diagnosis, self.document, {**self.arrays, **training_arrays(rows)})

    def save(self, folder: Path | str) -> None:
        """Write `flow.json` and `flow.npz` into a folder, each whole or not at all."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        packed = io.BytesIO()
        arrays: dict[str, Any] = dict(self.arrays)
        np.savez_compressed(packed, **arrays)
        text = json.dumps(self.document, ensure_ascii=False, allow_nan=False, indent=1)
        for name, data in (("flow.npz", packed.getvalue()), ("flow.json", text.encode())):
            temporary = place / f".{name}.{os.getpid()}"
            temporary.write_bytes(data)
            temporary.replace(place / name)


def examine(
    model: Module,
    batch: Any,
    loss: Callable[[Tensor, Any], Tensor],
    *,
    lag: int | None = None,
    at: Sequence[int] | None = None,
    batch_first: bool = False,
    call: Call = called,
    name: str = "model",
    sample: Any = None,
    text: str | None = None,
    image: tuple[int, int] | None = None,
    about: Mapping[str, str] | None = None,
    observe: Callable[[str], None] | None = None,
) -> Examination:
    """Diagnose a model, and take every measure that its verdict can be checked by.

    The model is copied and left as it is.

    Args:
        model, batch, loss, lag, at, batch_first, call: as in `diagnose`.
        name: of what is examined, for people.
        sample: a batch of one sequence, of which the input is shown and Jacobians are taken; None for the
            first of a batch that is a tensor, or a tuple of tensors, with the sequences in dimension 1.
        text: the sample's characters, one for each step, if it is text.
        image: height and width of the sample, if its steps are the pixels of an image, row by row.
        about: further facts on how it came about, such as the data.
        observe: told what is measured next.

    Returns:
        The examination.

    Raises:
        ValueError: as `diagnose` does, and if text or image have another number of steps than the sample.
        TypeError: if weights are in half precision on a CPU.
    """
    tell = observe or (lambda _: None)
    begun = time.perf_counter()
    check_module(model)
    layers = [module for module in model.modules() if isinstance(module, RNNBase)]
    batch_first = layers[0].batch_first if layers else batch_first
    subject = Subject(model, batch, loss, call, batch_first, sample, text, image)
    tell("the verdict")
    diagnosis = diagnose(model, batch, loss, lag=lag, at=at, batch_first=batch_first, call=call)
    arrays, missing = measured(subject, diagnosis, tell)
    tell("what measuring costs")
    once = _once(subject)
    seconds = time.perf_counter() - begun
    frame = _frame(subject, diagnosis) | dict(about or {})
    passes = f"{max(1, round(seconds / once))} forward and backward passes of the batch"
    frame["cost"] = f"{seconds:.2g} s, as much as {passes}"
    frame |= {f"not judged: {layer or 'the model'}": why for layer, why in diagnosis.left_out.items()}
    frame |= {f"not measured: {what}": why for what, why in missing.items()}
    document = {
        "format": FORMAT,
        "name": name,
        "sentence": diagnosis.sentence,
        "within_reach": diagnosis.within_reach,
        "wanted_lag": diagnosis.lag,
        "layers": [_layer(each) for each in diagnosis.verdicts],
        "frame": [[key, value] for key, value in frame.items()],
        "input": {"kind": subject.kind, "text": text, "shape": None if image is None else list(image)},
        "nonfinite": next(({"sentence": v.where} for v in diagnosis.verdicts if v.where is not None), None),
    }
    return Examination(diagnosis, document, arrays)


def _layer(verdict: Verdict) -> dict[str, Any]:
    decay = verdict.decay
    told: dict[str, Any] = {
        "kind": verdict.kind,
        "sentence": verdict.sentence,
        "half_life": None if decay is None else _finite(decay.half_life),
        "half_life_interval": None if decay is None else _finite(decay.half_life_interval),
        "rate": None if decay is None else _finite(decay.rate),
        "rate_interval": None if decay is None else _finite(decay.rate_interval),
        "fit": None if decay is None or verdict.direct or verdict.least else _drawn(verdict, decay),
        "start": verdict.start,
        "reach": verdict.reach,
        "noise": verdict.floor,
        "within_reach": verdict.within_reach,
        "remedies": [asdict(each) | {"value": _finite(each.value)} for each in verdict.remedies],
    }
    return {"key": verdict.key, "label": verdict.label, "kind": verdict.of, "verdict": told}


def _drawn(verdict: Verdict, decay: Decay) -> list[float]:
    """The fitted line as it is drawn: first and last lag from the position, ln of the value at the first."""
    start = verdict.start
    return [start + decay.first, start + decay.last, decay.log_value + log(verdict.end)]


def _finite(value: Any) -> Any:
    """A number, or a pair of them, that JSON can hold; None for one that it cannot."""
    if isinstance(value, tuple):
        return list(value) if all(map(isfinite, value)) else None
    return value if value is None or isfinite(value) else None


def _frame(subject: Subject, diagnosis: Diagnosis) -> dict[str, str]:
    """What has to be known to judge the numbers."""
    model, profile = subject.model, diagnosis.profiles[0]
    weights = [each for each in model.state_dict().values() if isinstance(each, Tensor)]
    modes = {module.training for module in model.modules()}
    mode = "mixed" if len(modes) > 1 else "training" if True in modes else "evaluation"
    every = {step for each in diagnosis.profiles for step in each.at or ()}
    positions = f"steps {_listed(sorted(every))}" if every else "the end of each sequence"
    sequences = int((profile.depth > 0).any(0).sum())
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return {
        "batch": f"{profile.h.shape[2]} sequences of up to {profile.h.shape[1]} steps",
        "loss": f"by lag of the loss at {positions}, each for itself; over time of the mean loss",
        "samples": f"median and 10–90 % band over {sequences} sequences; intervals 95 %, by resampling them",
        "dtype": ", ".join(sorted({str(each.dtype).removeprefix("torch.") for each in weights})),
        "device": ", ".join(sorted({each.device.type for each in weights})),
        "mode": mode,
        "detachment": _detachment(model, mode),
        "weights": f"sha256 {digest.hexdigest()[:16]}",
        "versions": f"bptt {installed('bptt') or 'from its sources'}, torch {torch.__version__}, "
        f"Python {platform.python_version()}",
    }


def _detachment(model: Module, mode: str) -> str:
    """Which paths are blocked as it is measured, which may be others than as it was trained."""
    detached = {
        f"{name or 'model'}: {each}"
        for name, module in model.named_modules()
        if module.training and isinstance(each := getattr(module, "detach", None), Detach)
    }
    return "; ".join(sorted(detached)) or f"none, in {mode} mode"


def _listed(steps: Sequence[int]) -> str:
    shown = ", ".join(map(str, steps[:8]))
    return shown if len(steps) <= 8 else f"{shown}, … ({len(steps)})"


def _once(subject: Subject) -> float:
    """Seconds of a forward and backward pass."""
    with copied(subject.model, recurrent=False) as mine:
        weights = [each.requires_grad_() for each in mine.parameters() if each.is_floating_point()]
        begun = time.perf_counter()
        loss = subject.loss(subject.call(mine, subject.batch), subject.batch).mean()
        torch.autograd.grad(loss, weights, allow_unused=True)
        return time.perf_counter() - begun
