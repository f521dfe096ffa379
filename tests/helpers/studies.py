"""Study folders in the exact file formats, without training anything."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Curve = Callable[[int, int], np.ndarray]  # (index of the arm, seed) → validation accuracy by epoch
WEIGHTS = b"the best weights"
STATE = b"a checkpoint" + b"bptt run state, sha256 " + hashlib.sha256(b"a checkpoint").hexdigest().encode()
TIME = "2026-11-21T03:04:05+00:00"


def learning(epochs: int) -> Curve:
    """Noisy S-curves: later arms learn earlier, each seed at its own time."""

    def curve(arm: int, seed: int) -> np.ndarray:
        noise = np.random.default_rng((arm, seed))
        middle = epochs * (0.45 - 0.1 * arm) * noise.uniform(0.7, 1.3)
        rise = 1 / (1 + np.exp(-(np.arange(1, epochs + 1) - middle) / (0.06 * epochs)))
        top = 0.955 + 0.012 * arm + noise.normal(0, 0.004)
        return np.clip(0.1 + (top - 0.1) * rise + noise.normal(0, 0.006, epochs), 0, 0.999)

    return curve


def digest(data: bytes) -> str:
    """A SHA-256."""
    return hashlib.sha256(data).hexdigest()


def write_json(path: Path, value: object) -> None:
    """A JSON file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def write_lines(path: Path, rows: Sequence[object]) -> None:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(
    folder: Path, spec: Mapping[str, Any], values: np.ndarray, end: str, *, score: str, tested: bool
):
    """One run folder that ends as told; `values` is its validation accuracy by epoch."""
    shares = {"missing": 0.0, "failed": 0.5, "unfinished": 0.5, "non-finite": 0.7}
    values = values[: int(len(values) * shares.get(end, 1.0))]
    if end == "missing":
        return
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    environment = {"bptt": "0.1.0", "torch": "2.13.0", "cpu": {"isa": "avx2"}, "threads": 1}
    record = {
        "hash": digest(text.encode()),
        "spec": spec,
        "environment": environment,
        "command": "bptt run demo",
    }
    write_json(folder / "spec.json", record)
    rows = metrics(spec, values, score)
    write_lines(folder / "metrics.jsonl", rows)
    speeds = [{"epoch": row["epoch"], "time": TIME, "steps_per_second": 20.5} for row in rows]
    write_lines(folder / "timing.jsonl", speeds)
    if end == "failed":
        place = {"epoch": len(rows) + 1, "step": 40 * len(rows), "time": TIME}
        write_json(
            folder / "failed.json", {"error": "ValueError: no such thing", "traceback": "here\n", **place}
        )
    if end in ("failed", "unfinished"):
        (folder / "state.pt").write_bytes(STATE)
        return
    (folder / "weights.safetensors").write_bytes(WEIGHTS)
    scores = [row["valid"] for row in rows]
    best = max(range(len(rows)), key=lambda at: scores[at].get("accuracy", -scores[at]["loss"]))
    done = {
        "spec": record["hash"],
        "status": {"non-finite": "non-finite loss"}.get(end, end),
        "epoch": len(rows) + (end == "non-finite"),
        "step": 40 * len(rows) + 7,
        "best": {"epoch": best + 1, "valid": scores[best]},
        "test": {key: each * 0.99 for key, each in scores[best].items()} if tested else None,
        "metrics_sha256": digest((folder / "metrics.jsonl").read_bytes()),
        "weights_sha256": digest(WEIGHTS),
        "environment_changed": False,
    }
    write_done(folder, done)


def write_done(folder: Path, page: Mapping[str, Any]) -> None:
    """A done.json with its own hash, as a run writes it."""
    page = {key: value for key, value in page.items() if key != "sha256"}
    text = json.dumps(page, allow_nan=False, sort_keys=True, separators=(",", ":"))
    write_json(folder / "done.json", {**page, "sha256": digest(text.encode())})


def metrics(spec: Mapping[str, Any], values: np.ndarray, score: str) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl with this validation accuracy by epoch, in its loss too."""
    noise = np.random.default_rng(spec["seed"])
    rows = []
    for epoch, value in enumerate(map(float, values), start=1):
        valid = {"loss": -math.log(min(max(value, 1e-4), 0.9999)), "accuracy": value}
        if score == "loss":
            del valid["accuracy"]
        norm = float(0.3 + 6 * (1 - value) ** 2 * noise.uniform(0.6, 1.6))
        row = {"epoch": epoch, "step": 40 * epoch, "p": {"h": 0.25 if spec["detach"] else 0.0, "c": 0.0}}
        row |= {"train": {key: each * 0.95 for key, each in valid.items()}, "valid": valid}
        row |= {"grad_norm": {"mean": norm * 1.1, "median": norm, "max": norm * 4}, "clipped": 0.35}
        rows.append(row)
    return rows


class StudyMaker:
    """Writes studies below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self,
        name: str = "demo",
        *,
        arms: Mapping[str, str] | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        epochs: int = 6,
        curve: Curve | None = None,
        ends: Mapping[tuple[str, int], str] | None = None,
        score: str = "accuracy",
        tested: bool = True,
        train: Mapping[str, Any] | None = None,
        title: str = "Digits, pixel by pixel",
        profile: str = "lite",
    ) -> Path:
        """A study folder; `ends` tells of runs that are missing, failed, unfinished, non-finite or solved."""
        arms = {"vanilla": "vanilla", "h-detach-0.25": "h-detach p = 0.25"} if arms is None else arms
        curve, ends = curve or learning(epochs), ends or {}
        settings = {
            "epochs": epochs,
            "clip_norm": 1.0,
            "anneal_epochs": 0,
            "solved_at": "none",
            **(train or {}),
        }
        parts = {
            arm: {
                "label": label,
                "task": {"name": "smnist_5k"},
                "model": {"cell": "lstm", "hidden_size": 100},
                "train": settings,
                "detach": {"h": 0.25 * index, "c": 0.0} if index else None,
            }
            for index, (arm, label) in enumerate(arms.items())
        }
        folder = self.root / f"{name}-{profile}"
        document = {
            "experiment": name,
            "profile": profile,
            "title": title,
            "commands": [f"bptt run {name} --profile {profile} --seeds {' '.join(map(str, seeds))}"],
            "spec": {"experiment": name, "profile": profile, "seeds": list(seeds), "arms": parts},
            "task": {
                "description": "5,000 digits of 14 × 14 pixels, read one pixel at a time (196 steps)",
                "sizes": {"train": 4000, "valid": 500, "test": 500},
                "chance": {"accuracy": 0.1, "loss": math.log(10)},
            },
            "arms": [{"name": arm, "label": label} for arm, label in arms.items()],
            "seeds": list(seeds),
            "runs": [{"arm": arm, "seed": n, "folder": f"{arm}/seed-{n}"} for arm in arms for n in seeds],
        }
        write_json(folder / "study.json", document)
        for index, arm in enumerate(arms):
            for seed in seeds:
                kept = {key: value for key, value in parts[arm].items() if key != "label"}
                spec = {"profile": profile, "arm": arm, "seed": seed, **kept}
                spec["train"] = {**settings, "seed": seed}
                end = ends.get((arm, seed), "completed")
                place = folder / arm / f"seed-{seed}"
                write_run(place, spec, curve(index, seed), end, score=score, tested=tested)
        return folder
