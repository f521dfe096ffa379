"""Damaged and foreign measurements: refused by the folder, the file and the rule, with nothing written."""

import io
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from helpers import flows

from bptt import report

KEY = flows.KEY


def page(**changes):
    return lambda document, _: document.update(changes)


def verdict(**changes):
    return lambda document, _: document["layers"][0]["verdict"].update(changes)


def array(name, value):
    return lambda _, content: content.update({name: np.asarray(value)})


def without(*names):
    return lambda _, content: [content.pop(name) for name in names]


STEPS = np.arange(flows.N)
DAMAGES = {
    "format": (page(format=1), "flow.json: format must be 2 (bptt flow writes it again), got 1"),
    "no name": (lambda document, _: document.pop("name"), "flow.json lacks the field 'name'"),
    "sentence": (page(sentence=3), "flow.json: sentence must be a text, got 3"),
    "wanted lag": (page(wanted_lag=0), "flow.json: wanted_lag must be at least 1, got 0"),
    "no layers": (page(layers=[]), "layers must be one or more, each with a key of its own, got []"),
    "layers": (page(layers=[3]), "flow.json: layers must be a list of objects, got [3]"),
    "twins": (page(layers=[flows.layer()] * 2), f'got ["{KEY}", "{KEY}"]'),
    "layer": (
        page(layers=[flows.layer(kind="TCN")]),
        "layers[0]: kind must be one of LSTM, GRU, RNN, input, got",
    ),
    "frame": (page(frame=[["batch"]]), 'flow.json: frame must be a list of pairs of texts, got ["batch"]'),
    "input": (page(input={"kind": "sound"}), "input: kind must be one of text, image, values, tokens, got"),
    "no sentence": (page(nonfinite={}), "flow.json: nonfinite lacks the field 'sentence'"),
    "verdict": (verdict(kind="fine"), "verdict: kind must be one of vanishing, preserved"),
    "half-life": (verdict(half_life=-3), "half_life must be a number of at least 0, got -3"),
    "interval": (verdict(rate_interval=[1]), "rate_interval must be 2 numbers, got [1]"),
    "rate": (verdict(rate=float("nan")), "rate must be a number of at least 0, got NaN"),
    "fit": (verdict(rate=None), "fit must be null without a finite rate above 0"),
    "remedies": (verdict(remedies=["clip"]), "verdict: remedies must be a list of objects"),
    "text": (page(input={"kind": "text", "text": "short"}), "text must be 60 characters, one for each step"),
    "late": (
        verdict(start=60),
        "start and fit of core:0:0 must be lags of 60, 0 <= first < last, got 60 and",
    ),
    "backwards": (verdict(fit=[9, 3, 0.0]), "start and fit of core:0:0 must be lags of 60"),
    "endless": (verdict(fit=[0, 1e15, 0.0]), "start and fit of core:0:0 must be lags of 60"),
    "infinite": (page(input={"kind": "image", "shape": ["inf", 1]}), "shape must be two whole numbers"),
    "image": (page(input={"kind": "image", "shape": [2, 3]}), "shape must be that of an image of 60 pixels"),
    "no lag": (
        without(f"lag/{KEY}/h", f"lag/{KEY}/h_low", f"lag/{KEY}/h_high"),
        f"flow.npz lacks lag/{KEY}/h",
    ),
    "no band": (without(f"lag/{KEY}/h_low"), f"lag/{KEY}/h needs lag/{KEY}/h_low, which is absent"),
    "no steps": (without("training/clip_steps"), "before needs training/clip_steps, which is absent"),
    "no looks": (without("training/steps"), "training/clip_steps needs training/steps, which is absent"),
    "no splits": (
        without(f"training/{KEY}/split_steps"),
        f"training/{KEY}/carry needs training/{KEY}/split_steps, which is absent",
    ),
    "splits": (
        array(f"training/{KEY}/split_steps", STEPS),
        f"training/{KEY}/carry must have shape (S, M) with the S = 12 of training/{KEY}/split_steps",
    ),
    "flat": (array(f"unit/{KEY}", STEPS), f"unit/{KEY} must have shape (T, H), got (12,)"),
    "empty": (array(f"lag/{KEY}/h", []), f"lag/{KEY}/h must have shape (K), got (0,)"),
    "scalar": (array(f"time/{KEY}/h", 1.0), f"time/{KEY}/h must have shape (T), got ()"),
    "quantiles": (array(f"gates/{KEY}/memory", np.ones((flows.T, 2))), "must have shape (T, 3), got (60, 2)"),
    "shorter": (
        array(f"lag/{KEY}/c", np.ones(7)),
        f"lag/{KEY}/c must have shape (K) with the K = 60 of lag/{KEY}/h, got (7,)",
    ),
    "negative": (array("training/before", -1.0 - STEPS), "training/before must be at least 0, got -1"),
    "falling": (array("training/steps", STEPS[::-1]), "training/steps must hold whole numbers that rise"),
    "halves": (array("training/steps", STEPS / 2), "training/steps must hold whole numbers that rise"),
    "unsigned": (array("training/steps", STEPS[::-1].astype(np.uint8)), "must hold whole numbers that rise"),
    "beyond": (
        array("reach/at", [1, 2, 60]),
        "reach/at must hold steps of the input, 0 <= step < 60, got 60",
    ),
    "words": (array("notes", ["a"]), "flow.npz: notes must hold numbers, got <U1"),
    "pickles": (array("notes", [{}]), "flow.npz is no npz file of numbers: Object arrays cannot be loaded"),
}


def refused(folder: Path, out: Path) -> str:
    with pytest.raises(report.ReportError) as caught:
        report.write_flow([folder], out)
    assert str(caught.value).startswith(f"{folder}: flow.")
    assert not list(out.parent.glob("*.*"))
    return str(caught.value)


@pytest.fixture
def whole(tmp_path):
    return flows.measurement(tmp_path / "measured", flows.document(), flows.arrays())


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_measurement_is_refused_by_name(tmp_path, damage, message):
    document, content = flows.document(), flows.arrays()
    damage(document, content)
    folder = flows.measurement(tmp_path / "measured", document, content)
    assert message in refused(folder, tmp_path / "out.html")


@pytest.mark.parametrize("name", ["flow.json", "flow.npz"])
def test_a_missing_file_is_named(whole, tmp_path, name):
    (whole / name).unlink()
    assert f"{name} cannot be read: No such file" in refused(whole, tmp_path / "out.html")


def test_what_is_no_json_or_npz_is_named(whole, tmp_path):
    raw = (whole / "flow.npz").read_bytes()
    for cut in (b"", b"garbage", raw[:-300], raw[: len(raw) // 2]):
        (whole / "flow.npz").write_bytes(cut)
        assert "flow.npz is no npz file of numbers" in refused(whole, tmp_path / "out.html")
    (whole / "flow.npz").write_bytes(raw)
    (whole / "flow.json").write_text("{")
    assert "flow.json is not JSON" in refused(whole, tmp_path / "out.html")


def test_any_flipped_byte_is_refused_or_harmless(whole, tmp_path):
    raw = bytearray((whole / "flow.npz").read_bytes())
    for at in np.random.default_rng(0).integers(0, len(raw), 25):
        damaged = bytes(raw[:at]) + bytes([raw[at] ^ 0x55]) + bytes(raw[at + 1 :])
        (whole / "flow.npz").write_bytes(damaged)
        with suppress(report.ReportError):
            report.write_flow([whole], tmp_path / "out.html")
            with np.load(whole / "flow.npz") as read, np.load(io.BytesIO(raw)) as was:
                assert read.files == was.files
                for name in was.files:
                    np.testing.assert_array_equal(read[name], was[name])


def test_a_member_that_is_no_array_is_refused(whole, tmp_path):
    packed = io.BytesIO((whole / "flow.npz").read_bytes())
    with zipfile.ZipFile(packed, "a") as file:
        file.writestr("notes.txt", "foreign")
    (whole / "flow.npz").write_bytes(packed.getvalue())
    assert "flow.npz: notes.txt must hold numbers" in refused(whole, tmp_path / "out.html")


def test_what_is_asked_for_must_make_sense(whole, tmp_path):
    with pytest.raises(report.ReportError, match="folders must hold at least one measurement, got none"):
        report.write_flow([], tmp_path / "out.html")
    with pytest.raises(report.ReportError, match=r"out must be an HTML file, \*\.html, got .*out$"):
        report.write_flow([whole], tmp_path / "out")
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(report.ReportError, match=r"taken/out\.npz cannot be written: \w"):
        report.write_flow([whole], tmp_path / "taken/out.html")
