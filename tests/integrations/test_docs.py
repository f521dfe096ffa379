"""The examples of docs/integrations.md run."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "integrations.md"
EXAMPLES = re.findall(r"^## (.*?)$.*?^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")  # Lightning's use of torch 2.13
@pytest.mark.filterwarnings("ignore:.*does not have many workers")  # advice on large data
@pytest.mark.parametrize("example", [pytest.param(text, id=title) for title, text in EXAMPLES])
def test_the_example_runs(example, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    exec(compile(example, PAGE.name, "exec"), {"__name__": "__main__"})
    if "print" in example:
        assert re.search(r"\d+\.\d+", capfd.readouterr().out.splitlines()[-1])
    assert any(tmp_path.iterdir())


def test_there_is_one_for_each():
    assert [title for title, _ in EXAMPLES] == ["Lightning", "Hugging Face", "TensorBoard"]
