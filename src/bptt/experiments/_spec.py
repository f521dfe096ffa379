"""What an experiment is: arms × seeds on one protocol, frozen and complete."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Section = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """One treatment: its complete sections by name, and which gradient paths are blocked."""

    name: str
    label: str
    sections: Mapping[str, Section]
    detach: Section | None

    @property
    def task(self) -> Section:
        """Of a training, not of a measurement."""
        return self.sections["task"]

    @property
    def model(self) -> Section:
        """Of a training, not of a measurement."""
        return self.sections["model"]

    @property
    def train(self) -> Section:
        """Of a training, not of a measurement."""
        return self.sections["train"]


@dataclass(frozen=True)
class Run:
    """One arm under one seed: everything that decides its numbers.

    `document` holds the run's experiment, profile, arm, seed, device, task (with the fingerprint of its data
    once the study is prepared), model, train and detach sections; of a measurement measure and detach.
    """

    arm: str
    seed: int
    document: Section

    @property
    def folder(self) -> str:
        """Where the run lives inside its study folder."""
        return f"{self.arm}/seed-{self.seed}"

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.arm}, seed {self.seed}"


@dataclass(frozen=True)
class Spec:
    """A validated experiment: its arms and seeds, and where it came from.

    `base` holds the sections that arms lay their own keys over: task, model and train, or measure.
    """

    experiment: str
    profile: str
    title: str
    source: str
    device: str
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    base: Mapping[str, Section]

    @property
    def measured(self) -> bool:
        """Whether its runs measure layers as they are, instead of training a model."""
        return "measure" in self.base

    @property
    def folder(self) -> str:
        """The name of the study folder."""
        return f"{self.experiment}-{self.profile}"

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every arm under every seed, seed by seed, so that an interrupted study has compared all arms."""
        return tuple(self._run(arm, seed) for seed in self.seeds for arm in self.arms)

    def document(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        arms = {
            arm.name: {
                "label": arm.label,
                **{section: dict(values) for section, values in arm.sections.items()},
                "detach": None if arm.detach is None else dict(arm.detach),
            }
            for arm in self.arms
        }
        about = {key: getattr(self, key) for key in ("experiment", "profile", "title", "source", "device")}
        base = {section: dict(values) for section, values in self.base.items()}
        return about | {"seeds": list(self.seeds), "base": base, "arms": arms}

    def _run(self, arm: Arm, seed: int) -> Run:
        sections = {section: dict(values) for section, values in arm.sections.items()}
        if "train" in sections:
            sections["train"]["seed"] = seed
        document = {
            "experiment": self.experiment,
            "profile": self.profile,
            "arm": arm.name,
            "seed": seed,
            "device": self.device,
            **sections,
            "detach": None if arm.detach is None else dict(arm.detach),
        }
        return Run(arm.name, seed, document)
