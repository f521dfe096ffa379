"""The documentation builds without a warning, and what it shows runs."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bptt import bench

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("builder", ["html", "doctest"])
def test_documentation(builder, tmp_path):
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        builder,
        "docs",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    if builder == "doctest":
        tested = int(re.search(r"(\d+) tests\n", (tmp_path / "output.txt").read_text(encoding="utf-8"))[1])
        assert tested >= 8


def test_the_example_of_the_readme_runs():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert len(example.strip().splitlines()) <= 12
    exec(compile(example, "README.md", "exec"), {})


def test_the_readme_quotes_the_results():
    def rows(name):
        return csv.DictReader((ROOT / "results" / "demo" / name).read_text(encoding="utf-8").splitlines())

    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    quoted = re.search(
        r"([\d.]+) % for vanilla \(its two seeds ([\d.]+) % and ([\d.]+) %\)"
        r" and ([\d.]+) % for h-detach \(([\d.]+) % and ([\d.]+) %\)",
        readme,
    )
    measured = [
        float(value)
        for arm in ("vanilla", "h-detach-0.25")
        for value in (
            *(r["value"] for r in rows("summary.csv") if (r["arm"], r["quantity"]) == (arm, "test accuracy")),
            *(r["test_accuracy"] for r in rows("runs.csv") if r["arm"] == arm),
        )
    ]
    assert quoted
    assert [f"{100 * value:.1f}" for value in measured] == list(quoted.groups())


def test_the_readme_names_commands_and_files_that_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", readme):
        assert link.startswith("https://") or (ROOT / link).exists(), link
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for target in re.findall(r"(?<!:)make ([a-z-]+)", readme):
        assert target in targets


def test_tables_of_speed_are_those_of_the_records():
    drift = bench.drifted(ROOT)
    assert drift == [], f"{', '.join(map(str, drift))}: fill the tables in with `python -m bptt.bench`"
