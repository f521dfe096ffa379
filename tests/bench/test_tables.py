"""Tables of a record, and documents that quote them."""

import json
import runpy
from pathlib import Path

import pytest

from bptt import bench
from bptt.bench import RecordError, drifted, fill, markdown

ROOT = Path(__file__).resolve().parents[2]


def row(**values):
    usual = {
        "cell": "lstm",
        "shape": "120,100,1,128",
        "p": 0.0,
        "threads": 2,
        "memory": "fast",
        "mode": "train",
        "variant": {"layers": 1, "bidirectional": False, "packed": False},
        "rival": "torch",
        "ratio": {"median": 1.6, "lower": 1.5, "upper": 1.75},
        "pairs": 15,
        "floor_share": 0.812,
        "bytes_kept": {"ours": 6.0, "rival": 16.3},
        "forced": False,
    }
    return usual | values


def document(*rows):
    machine = {
        "cpu_model": "vendor_id X, model name Abacus 9",
        "cores": 2,
        "instruction_set": "avx512",
        "torch": "2.0",
        "bptt": "9.9",
    }
    return {"format": 1, "commands": ["bptt bench --pairs 15"], "machine": machine, "rows": list(rows)}


def checkout(folder, text, record):
    (folder / "docs").mkdir()
    (folder / "results" / "bench").mkdir(parents=True)
    (folder / "README.md").write_text(text)
    (folder / "results" / "bench" / "paper.json").write_text(json.dumps(record))
    return folder


def test_one_line_for_a_shape_and_a_rival():
    half = row(p=0.5, ratio={"median": 2, "lower": 1.9, "upper": 2.1}, floor_share=None)
    columns, lines = bench.table([row(), half, row(rival="loop")])
    assert columns == [
        "cell",
        "T,B,I,H",
        "rival",
        "p=0, 2 threads",
        "p=0.5, 2 threads",
        "share of floor, 2 threads",
        "kept: ours",
        "kept: rival",
    ]
    assert lines == [
        ["lstm", "120,100,1,128", "torch", "1.60 [1.50, 1.75]", "2.00 [1.90, 2.10]", "0.81", "6.0", "16.3"],
        ["lstm", "120,100,1,128", "loop", "1.60 [1.50, 1.75]", "–", "0.81", "6.0", "16.3"],
    ]


def test_variants_are_named():
    variant = {"layers": 2, "bidirectional": True, "packed": True}
    columns, lines = bench.table([row(variant=variant, memory="low", mode="forward", bytes_kept=None)])
    assert lines[0][columns.index("what")] == "2 layers, bidirectional, packed, memory low, forward"


def test_markdown_tells_how_it_was_made():
    text = markdown(document(row()))
    assert text.startswith("| cell | T,B,I,H | rival |")
    assert "\n| --- | --- |" in text
    assert "Abacus 9, 2 cores, avx512, torch 2.0, bptt 9.9" in text
    assert "quartiles of 15 pairs. Made by `bptt bench --pairs 15`." in text


def test_rows_can_be_chosen():
    where = [("rival", "loop"), ("p", "0"), ("layers", "1"), ("bidirectional", "False")]
    text = markdown(document(row(), row(rival="loop")), where)
    assert "| loop |" in text
    assert "| torch |" not in text


@pytest.mark.parametrize(
    ("record", "where", "message"),
    [
        (document(row(), row(p=0.5, forced=True)), (), "by force"),
        (document(row(pairs=14)), (), "at least 15 pairs"),
        (document(row()), [("rival", "haste")], "no row has rival=haste"),
        (document(row()), [("colour", "red")], "no row has colour=red"),
    ],
)
def test_what_may_not_be_quoted(record, where, message):
    with pytest.raises(RecordError, match=message):
        markdown(record, where)


def test_documents_are_filled_in_and_found_out(tmp_path):
    text = "# Speed\n\n<!-- bench:paper rival=torch -->\nold\n<!-- /bench -->\n\nThe `<!-- bench:no -->`.\n"
    root = checkout(tmp_path, text, document(row(), row(rival="loop")))
    (root / "docs" / "other.md").write_text("No table.\n")
    assert drifted(root) == [root / "README.md"]
    assert fill(root) == [root / "README.md"]
    assert drifted(root) == fill(root) == []
    filled = (root / "README.md").read_text()
    assert filled.startswith("# Speed\n\n<!-- bench:paper rival=torch -->\n| cell |")
    assert filled.endswith("\n<!-- /bench -->\n\nThe `<!-- bench:no -->`.\n")
    (root / "README.md").write_text(filled.replace("1.60", "2.60"))
    assert drifted(root) == [root / "README.md"]


def test_the_script_fills_in(tmp_path, monkeypatch, capsys):
    root = checkout(tmp_path, "<!-- bench:paper -->\n<!-- /bench -->\n", document(row()))
    monkeypatch.chdir(root)
    runpy.run_module("bptt.bench", run_name="__main__")
    assert capsys.readouterr().out == f"{root / 'README.md'}\n"
    assert drifted(root) == []
    (root / "results" / "bench" / "paper.json").unlink()
    with pytest.raises(SystemExit, match=r"error: .*which does not exist"):
        runpy.run_module("bptt.bench", run_name="__main__")


@pytest.mark.parametrize(
    ("text", "record", "message"),
    [
        ("<!-- bench:paper -->\n", document(row()), "must stand on a line"),
        ("<!-- bench:grid -->\n<!-- /bench -->", document(row()), r"grid\.json, which does not exist"),
        ("<!-- bench:paper -->\n<!-- /bench -->", document(row(forced=True)), "by force"),
        ("<!-- bench:paper -->\n<!-- /bench -->", {}, "was not written by bptt bench"),
    ],
)
def test_a_table_that_cannot_be_filled_in_fails(tmp_path, text, record, message):
    root = checkout(tmp_path, text, record)
    with pytest.raises(RecordError, match=message):
        drifted(root)
    assert (root / "README.md").read_text() == text


def test_every_record_of_the_checkout_may_be_shown():
    for path in (ROOT / "results" / "bench").glob("*.json"):
        markdown(bench.read(path))
