"""TensorBoard reads back what was written of readings and runs."""

import io
import json

import numpy as np
import pytest
from helpers.watched import Net, batches, by_hand, expected
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from bptt import flow
from bptt.integrations import TensorBoardFlow

ZERO, NOT_FINITE = (86, 180, 233), (213, 94, 0)


def reading(step, h, t=None, c=None, direction=0):
    layer = flow.LayerReading("core", 0, direction, tuple(t or range(len(h))), h, c, None)
    return flow.Reading(step, (layer,), 2.0, 1.0)


def read(board, folder):
    board.writer.close()
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def scalars(events):
    """By tag, the values by step."""
    return {
        tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]
    }


def image(events, tag):
    """(height, width, 3) of the only image of a tag."""
    (event,) = events.Images(tag)
    return (imread(io.BytesIO(event.encoded_image_string))[..., :3] * 255).round().astype(np.uint8)


def middle(pixels, colour):
    """Where most of a colour is, as shares of the height from below and of the width."""
    rows, columns = np.nonzero((pixels == colour).all(-1))
    return 1 - np.median(rows) / pixels.shape[0], np.median(columns) / pixels.shape[1]


def test_writes_the_numbers_of_a_reading(tmp_path):
    model = Net()
    board = TensorBoardFlow(tmp_path)
    watch = flow.watch(model, every=2)
    for step, (x, labels) in enumerate(batches(4)):
        with watch.step(step):
            model(x, labels).backward()
        watch.clipped(3.0, 1.5)
        if (seen := watch.take()) is not None:
            board.write(seen)
            last = seen.row()
    found = scalars(read(board, tmp_path))
    assert {tag: values[2] for tag, values in found.items()} == pytest.approx(expected(last), rel=1e-6)
    assert all(list(values) == [0, 2] for values in found.values())


def test_ends_of_a_reverse_direction_are_those_of_its_run(tmp_path):
    board = TensorBoardFlow(SummaryWriter(str(tmp_path)))
    board.write(reading(0, (4.0, 2.0, 1.0), direction=1))
    found = scalars(read(board, tmp_path))
    assert found["flow/h/last/core:0:1"] == {0: 4.0}
    assert found["flow/h/first/core:0:1"] == {0: 1.0}
    assert not any(tag.startswith(("flow/c", "flow/half_life")) for tag in found)


@pytest.mark.parametrize("direction", [0, 1])
def test_maps_show_lags_upwards_and_readings_to_the_right(tmp_path, direction):
    def run(step, by_lag):
        return reading(step, by_lag if direction else by_lag[::-1], direction=direction)

    board = TensorBoardFlow(tmp_path)
    board.write_maps([run(0, (1.0, 0.5, 0.25, 0.0)), run(100, (float("nan"), 0.5))])
    events = read(board, tmp_path)
    assert events.Tags()["images"] == [f"flow/map/h/core:0:{direction}"]
    assert events.Images(f"flow/map/h/core:0:{direction}")[0].step == 100
    pixels = image(events, f"flow/map/h/core:0:{direction}")
    height, width = middle(pixels, ZERO)
    assert height > 0.65
    assert width < 0.45
    height, width = middle(pixels, NOT_FINITE)
    assert height < 0.4
    assert width > 0.45


def test_maps_of_ordinary_and_of_no_values(tmp_path):
    board = TensorBoardFlow(tmp_path)
    nan = float("nan")
    board.write_maps([reading(step, (1e-30, 2.0), c=(nan, nan)) for step in range(2)])
    events = read(board, tmp_path)
    for colour in (ZERO, NOT_FINITE):
        assert not (image(events, "flow/map/h/core:0:0") == colour).all(-1).any()
    share = (image(events, "flow/map/c/core:0:0") == NOT_FINITE).all(-1).mean()
    assert share > 0.4


def test_writes_a_run(tmp_path):
    rows, _ = by_hand(Net(), batches(4), every=2)
    layer = rows[0]["layers"]["core:0:0"]  # paths are split at some of the steps
    layer["carry"], layer["gates"] = layer["c"], [0.0] * len(layer["c"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "flow.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    board = TensorBoardFlow(tmp_path / "board")
    board.write_run(tmp_path / "run", maps=True)
    events = read(board, tmp_path / "board")
    found = scalars(events)
    for row in rows:
        values = {tag: series[row["step"]] for tag, series in found.items()}
        assert values == pytest.approx(expected(row), rel=1e-6)
    maps = {f"flow/map/{series}/core:0:0" for series in ("h", "c", "carry", "gates")}
    assert set(events.Tags()["images"]) == maps
    assert (image(events, "flow/map/gates/core:0:0") == ZERO).all(-1).mean() > 0.4


def test_maps_of_a_run_are_written_on_request(tmp_path):
    (tmp_path / "flow.jsonl").write_text(json.dumps(reading(0, (1.0, 2.0)).row()) + "\n")
    board = TensorBoardFlow(tmp_path / "board")
    board.write_run(tmp_path)
    events = read(board, tmp_path / "board")
    assert events.Tags()["images"] == []
    assert scalars(events)["flow/grad_norm/before_clip"] == {0: 2.0}


def test_refuses_a_run_that_was_not_watched(tmp_path):
    with pytest.raises(
        ValueError, match=r"that has come to such a step, got .* without lines in flow\.jsonl"
    ):
        TensorBoardFlow(tmp_path / "board").write_run(tmp_path)
