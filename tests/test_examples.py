"""The examples run, and `bptt flow` takes them as their text says."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from bptt.cli import main

ROOT = Path(__file__).resolve().parents[1]
TEXT = "the quick brown fox jumps over the lazy dog, " * 12


@pytest.fixture
def characters(monkeypatch):
    spec = importlib.util.spec_from_file_location("characters", ROOT / "examples" / "characters.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "characters", module)
    monkeypatch.setattr(module.make, "__defaults__", (3,))
    return module


def test_characters_are_examined_as_text(characters, tmp_path, capsys):
    data = tmp_path / "text.txt"
    data.write_text(TEXT)
    (words,) = re.findall(r"bptt (flow examples\.characters:make .*)", characters.__doc__)
    words = words.replace("examples.characters", "characters").replace("TEXT.txt", str(data)).split()
    assert main([*words, "--json"]) in (0, 1)
    (document,) = json.loads(capsys.readouterr().out)
    assert document["wanted_lag"] == 50
    assert document["input"]["text"] in TEXT
    assert len(document["input"]["text"]) == characters.STEPS
    data.write_text("too short")
    assert main(words) == 2
    assert "data must hold at least 480 characters, got 9" in capsys.readouterr().err
