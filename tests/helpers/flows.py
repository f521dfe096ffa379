"""Folders of gradient flow as `bptt.flow` leaves them, from closed forms instead of measurements."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

T, H, K, N = 60, 8, 60, 12
KEY = "core:0:0"
LOOKS = 20 * np.arange(N)  # training steps; gradients are split at every other one


def verdict(rate: float = 0.9, **changes: Any) -> dict[str, Any]:
    """The verdict on a gradient that is `rate` to the power of the lag."""
    half = float(-np.log(2) / np.log(rate)) if rate < 1 else None
    return {
        "kind": "vanishing" if rate < 1 else "preserved",
        "sentence": f"LSTM core, layer 1: the gradient changes × {rate:g} per step.",
        "half_life": half,
        "half_life_interval": None if half is None else [0.9 * half, 1.1 * half],
        "rate": rate,
        "rate_interval": [rate - 0.01, rate + 0.01],
        "fit": [1, K - 1, float(np.log(rate))],
        "reach": None,
        "noise": 1e-6,
        "within_reach": True,
        "remedies": [
            {
                "name": "forget bias",
                "action": "add to the bias of the forget gate",
                "reason": "it keeps too little",
                "value": 3.2,
            },
        ],
    } | changes


def layer(
    key: str = KEY, kind: str = "LSTM", label: str = "LSTM core, layer 1", **changes: Any
) -> dict[str, Any]:
    """A layer of flow.json."""
    return {"key": key, "label": label, "kind": kind, "verdict": verdict(**changes)}


def document(**changes: Any) -> dict[str, Any]:
    """flow.json."""
    return {
        "format": 2,
        "name": "vanilla, seed 0",
        "sentence": "LSTM core, layer 1: the gradient halves every 6.58 steps; a lag of 50 is within reach.",
        "within_reach": True,
        "wanted_lag": 50,
        "layers": [layer()],
        "frame": [["batch", f"5 sequences of {T} steps"], ["loss", "cross entropy at the last step"]],
        "input": {"kind": "text", "text": TEXT, "shape": None},
        "nonfinite": None,
    } | changes


TEXT = ("To be, or not to be, that is the question:\nWhether 'tis nobler in the mind")[:T]


def reach_arrays(rate: float = 0.9, steps: int = T) -> dict[str, np.ndarray]:
    """‖∂out_t/∂x_s‖ = rate^(t − s), exactly 0 for s > t."""
    at = np.array([steps // 3, 2 * steps // 3, steps - 1])
    back = at[:, None] - np.arange(steps)
    return {
        "reach/at": at,
        "reach/norms": np.where(back >= 0, rate ** np.maximum(back, 0.0), 0.0),
        "reach/input": np.sin(np.arange(steps) / 3),
    }


def layer_arrays(
    key: str = KEY, kind: str = "LSTM", rate: float = 0.9, scale: float = 1.0
) -> dict[str, np.ndarray]:
    """Everything there can be of a layer whose gradient is `scale` · rate^lag."""
    k, t, n = np.arange(K), np.arange(T), np.arange(N)
    fall = scale * rate**k
    phase = np.exp(2j * np.pi * np.arange(H) / H)
    made = {
        f"lag/{key}/h": fall,
        f"lag/{key}/h_low": 0.5 * fall,
        f"lag/{key}/h_high": 2 * fall,
        f"time/{key}/h": fall[::-1],
        f"unit/{key}": fall[::-1, None] * (1 + np.arange(H)),
        f"gates/{key}/memory": np.stack([1 + t / T, 5 + t / T, 20 + t], axis=1),
        f"gates/{key}/forget": np.linspace(0.01, 0.99, 500) ** 0.3,
        f"spectrum/{key}/steps": t[::5],
        f"spectrum/{key}/singular": np.outer(1 + 0.1 * np.sin(t[::5]), np.linspace(1.2, 0.1, 2 * H)),
        f"spectrum/{key}/radius": np.full(t[::5].size, rate),
        f"spectrum/{key}/condition": np.full(t[::5].size, 12.0),
        f"spectrum/{key}/products": np.log(rate) * (k + 1),
        f"spectrum/{key}/eigenvalues": np.stack([1.1 * phase.real, 0.8 * phase.imag], axis=1),
        f"spectrum/{key}/weight_singular": np.linspace(1.3, 0.2, H),
        f"lyapunov/{key}/exponents": np.log(rate) * np.arange(1, 4),
        f"lyapunov/{key}/running": np.log(rate) * np.arange(1, 4) * (1 + 1 / (1 + t[:, None])),
        f"training/{key}/t": t[::2],
        f"training/{key}/steps": LOOKS,
        f"training/{key}/h": np.outer(1 / (1 + n), fall[::-2]),
        f"training/{key}/half_life": 5.0 + n,
    }
    for gate in {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h", "input": ""}[kind]:
        made[f"gates/{key}/saturated/{gate}"] = np.abs(np.sin(t / 9 + ord(gate)))
    if kind == "LSTM":
        made |= {
            f"lag/{key}/c": 2 * fall,
            f"lag/{key}/c_low": fall,
            f"lag/{key}/c_high": 4 * fall,
            f"time/{key}/c": 2 * fall[::-1],
            f"training/{key}/c": np.outer(2 / (1 + n), fall[::-2]),
        }
    if kind in ("LSTM", "GRU"):
        made |= {
            f"lag/{key}/carry": fall * 0.98**k,
            f"lag/{key}/gates": fall - fall * 0.98**k,
            f"training/{key}/split_steps": LOOKS[::2],
            f"training/{key}/carry": np.outer(1 / (2 + n[::2]), fall[::-2]),
            f"training/{key}/gates": np.outer(1 / (3 + n[::2]), fall[::-2]),
        }
    return made


def training_arrays() -> dict[str, np.ndarray]:
    """Steps that a watch looked at, and norms before and after clipping to 1."""
    before = 3.0 / (1 + np.arange(N))
    return {
        "training/steps": LOOKS,
        "training/clip_steps": LOOKS,
        "training/before": before,
        "training/after": np.minimum(before, 1.0),
    }


def arrays(**of_layer: Any) -> dict[str, np.ndarray]:
    """flow.npz with everything there can be, of one layer."""
    return layer_arrays(**of_layer) | reach_arrays() | training_arrays()


def measurement(folder: Path, page: Mapping[str, Any], content: Mapping[str, np.ndarray]) -> Path:
    """Write flow.json and flow.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flow.json").write_text(json.dumps(page), encoding="utf-8")
    np.savez_compressed(folder / "flow.npz", **content)
    return folder
