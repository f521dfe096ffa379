"""Readings of `bptt.flow.watch` in TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import flow, train
from ._map import SERIES, drawn
from ._scalars import scalars

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise ImportError("TensorBoardFlow needs the package tensorboard: pip install tensorboard") from error


class TensorBoardFlow:
    """Write readings to TensorBoard: the numbers of one, and maps of many over a training.

    Args:
        writer: a `torch.utils.tensorboard.SummaryWriter`, such as the `experiment` of Lightning's
            TensorBoardLogger, or the folder for a new one.

    Attributes:
        writer: where everything goes, to be flushed or closed.

    Raises:
        ImportError: at first use of the name, if tensorboard is not installed.
    """

    def __init__(self, writer: SummaryWriter | Path | str) -> None:
        self.writer = SummaryWriter(str(writer)) if isinstance(writer, str | Path) else writer

    def write(self, reading: flow.Reading) -> None:
        """Write the numbers that the other integrations log, at the reading's step."""
        self._write(reading.row())

    def write_maps(self, readings: Sequence[flow.Reading]) -> None:
        """Write an image for each layer, direction and state, `flow/map/h/core:0:0`: its norms at every time
        step, counted back from the last of its run, over the readings, at the step of the last of these.
        """
        self._write_maps([reading.row() for reading in readings])

    def write_run(self, folder: Path | str, *, maps: bool = False) -> None:
        """Write what a run folder holds in flow.jsonl: the numbers and, if asked for, maps.

        Raises:
            RunError: if a line is damaged.
            ValueError: if no step of the run was looked at.
        """
        rows = train.read_flow(folder)
        if not rows:
            raise ValueError(
                "folder must be that of a run with watch_every > 0 that has come to such a step, got "
                f"{folder} without lines in flow.jsonl"
            )
        for row in rows:
            self._write(row)
        if maps:
            self._write_maps(rows)

    def _write(self, row: Mapping[str, Any]) -> None:
        for tag, value in scalars(row).items():
            self.writer.add_scalar(tag, value, row["step"])

    def _write_maps(self, rows: Sequence[Mapping[str, Any]]) -> None:
        layers = [layer for row in rows for layer in row["layers"].items()]
        for key, of in dict.fromkeys((key, of) for key, layer in layers for of in SERIES if of in layer):
            there = [row for row in rows if of in row["layers"].get(key, ())]
            image = drawn(key, [row["step"] for row in there], [row["layers"][key] for row in there], of)
            self.writer.add_image(f"flow/map/{of}/{key}", image, rows[-1]["step"], dataformats="HWC")
