"""A stage goes on from its archive, a piece at a time, on a machine that has little installed."""

import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from helpers.experiments import RESULTS

from bptt import train
from bptt.experiments import stages

# What the machine of the GPU need not have.
LACKING = ("tyro", "rich", "mlxtend", "plotly", "matplotlib", "scipy", "jinja2")
BARE = f"""
import sys
for name in {LACKING}: sys.modules[name] = None
from bptt.experiments.stages.__main__ import main
sys.exit(main())
"""


def piece(folder, *more, stage="copying-100", minutes="1"):
    command = [sys.executable, "-c", BARE, stage, "--device", "cpu", "--profile", "smoke"]
    command += ["--minutes", minutes, "--out", str(folder), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def results(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.name in RESULTS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    done = piece(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "15 of 15 runs have ended" in done.stdout
    return folder


def test_all_arms_and_five_seeds_are_run_as_replicas(whole):
    runs = sorted((whole / "copying-100-smoke-float32/copying-smoke").glob("*/seed-*"))
    assert len(runs) == 15
    for folder in runs:
        page = train.read_spec(folder)
        assert page["spec"]["train"]["precision"] == page["environment"]["precision"] == "float32"
        assert page["command"].startswith("python -m bptt.experiments.stages copying-100 --device cpu")


def test_pieces_on_bare_machines_make_the_same_whole(whole, tmp_path):
    name = "copying-100-smoke-float32"
    codes = []
    for number, minutes in enumerate(("0.02", "0.05", "1")):
        machine = tmp_path / str(number)
        if number:
            machine.mkdir()
            shutil.copy(tmp_path / str(number - 1) / f"{name}.tar.xz", machine)
        done = piece(machine, minutes=minutes)
        codes.append(done.returncode)
        assert done.returncode in (0, 3), done.stdout + done.stderr
        if done.returncode == 3:
            assert "the time is over; the same command goes on" in done.stdout
    assert codes[0] == 3
    assert codes[-1] == 0
    assert results(tmp_path / "2" / name) == results(whole / name)


def test_an_archive_from_elsewhere_wins_and_nothing_is_lost(whole, tmp_path):
    name = "copying-100-smoke-float32"
    assert piece(tmp_path, minutes="0.02").returncode == 3
    begun = results(tmp_path / name)
    shutil.copy(whole / f"{name}.tar.xz", tmp_path)
    done = piece(tmp_path)
    assert (done.returncode, "15 of 15 runs have ended" in done.stdout) == (0, True)
    assert results(tmp_path / name) == results(whole / name)
    assert f"which is in {tmp_path / name}.before-1 now" in done.stdout
    assert results(tmp_path / f"{name}.before-1") == begun
    assert piece(tmp_path).returncode == 0  # its own archive now
    assert not (tmp_path / f"{name}.before-2").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("copying-100", "--precision", "float64"), "must be of train.precision = float64, got float32"),
        (("smnist",), "must hold the study smnist-smoke alone, got copying-smoke"),
    ],
)
def test_an_archive_of_something_else_is_refused_and_nothing_changes(whole, tmp_path, asked, told):
    archive = tmp_path / "other.tar.xz"
    shutil.copy(whole / "copying-100-smoke-float32.tar.xz", archive)
    before = archive.read_bytes()
    done = piece(tmp_path / "out", *asked[1:], "--archive", str(archive), stage=asked[0])
    assert (done.returncode, told in done.stdout) == (2, True), done.stdout
    assert archive.read_bytes() == before
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_somebody_it_says_so_and_leaves_an_archive(tmp_path, number):
    command = [sys.executable, "-u", "-m", "bptt.experiments.stages", "copying-100", "--device", "cpu"]
    command += ["--profile", "lite", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        state = tmp_path / "copying-100-lite-float32/copying-lite/vanilla/seed-0/state.pt"
        deadline = time.monotonic() + 60
        while not state.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; the same command goes on" in told
    assert (tmp_path / "copying-100-lite-float32.tar.xz").exists()


def test_nobody_need_listen(tmp_path):
    script = f"{sys.executable} -m bptt.experiments.stages copying-100 --device cpu --profile smoke "
    script += f"--out {tmp_path} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "copying-100-smoke-float32.tar.xz").exists()


def test_one_process_at_a_time(whole):
    with train.locked(whole / "copying-100-smoke-float32"):
        done = piece(whole)
    assert done.returncode == 2
    assert "is being trained by another process" in done.stdout


def test_the_time_is_kept_where_ctrl_c_is_ignored(tmp_path):
    script = f"trap '' INT; exec {sys.executable} -m bptt.experiments.stages copying-100 --device cpu "
    script += f"--profile smoke --minutes 0.02 --out {tmp_path}"
    assert subprocess.run(["bash", "-c", script], capture_output=True, timeout=60).returncode == 3


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "soon"])
def test_minutes_are_a_number_above_zero(tmp_path, minutes):
    done = piece(tmp_path, minutes=minutes)
    assert done.returncode == 2
    assert "argument --minutes: " in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_archive_holds_what_is_needed_and_no_more(whole):
    with tarfile.open(whole / "copying-100-smoke-float32.tar.xz") as file:
        names = file.getnames()
    assert "copying-smoke/study.json" in names
    assert not [name for name in names if name.endswith((".lock", "state.prev.pt", "state.pt", ".tmp"))]


def test_a_damaged_archive_is_refused_and_stays(tmp_path):
    archive = tmp_path / "copying-100-smoke-float32.tar.xz"
    archive.write_bytes(b"nothing of the kind")
    done = piece(tmp_path)
    assert done.returncode == 2
    assert f"error: {archive} is damaged" in done.stdout
    assert archive.read_bytes() == b"nothing of the kind"
    assert list(tmp_path.iterdir()) == [archive]


def test_precision_and_profile_have_studies_of_their_own(tmp_path):
    done = piece(tmp_path, "--precision", "bf16-mixed", stage="copying-300")
    assert done.returncode == 0, done.stdout + done.stderr
    (study,) = tmp_path.glob("copying-300-smoke-bf16-mixed/copying-smoke")
    run = next(study.glob("*/seed-0"))
    assert train.read_spec(run)["environment"]["precision"] == "bf16-mixed"


def test_the_makefile_knows_every_stage():
    makefile = Path(__file__).parents[2] / "Makefile"
    (line,) = [line for line in makefile.read_text().splitlines() if line.startswith("STAGES :=")]
    assert line.split()[2:] == list(stages.STAGES)
