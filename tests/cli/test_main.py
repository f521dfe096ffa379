"""The command line without a run: help, misspellings, listings, and what is refused."""

import subprocess
import sys

import pytest

from bptt import experiments
from bptt.cli import main


def refused(capsys, *argv):
    """The message on stderr of a command that bad input ends with status 2 and without a traceback."""
    try:
        status = main(argv)
    except SystemExit as stop:
        status = stop.code
    output = capsys.readouterr()
    assert status == 2
    assert "Traceback" not in output.err
    return output.err


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_names_every_command(capsys, argv):
    assert main(argv) == 0
    text = capsys.readouterr().out
    for command in ("ls", "show", "run", "resume", "report", "doctor", "data"):
        assert f"\n  {command} " in text


@pytest.mark.parametrize("command", ["ls", "show", "run", "resume", "report", "doctor", "data"])
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: bptt {command}" in capsys.readouterr().out


def test_help_of_run_names_its_flags(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    for flag in ("profile", "seeds", "arms", "device", "data", "out", "set", "workers"):
        assert f"--{flag} " in text
    assert "None" not in text


def test_version(capsys):
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bptt {version('bptt')}\n"


def test_a_commands_help_does_not_wait_for_torch():
    code = "import sys\nfrom bptt.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass\n"
    command = [sys.executable, "-c", code + "assert 'torch' not in sys.modules and 'tyro' in sys.modules"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("argv", "nearest"),
    [
        (["rum"], "'run'"),
        (["reprot", "x"], "'report'"),
        (["run", "demo", "--profiles", "smoke"], "--profile"),
        (["run", "dmeo"], "'demo'"),
        (["run", "demo", "--profile", "smoek"], "'smoke'"),
        (["run", "demo", "--arms", "vanila"], "'vanilla'"),
        (["run", "demo", "--set", "train.epoch=3"], "'train.epochs'"),
        (["run", "demo", "--device", "cudaa"], "'cuda'"),
        (["show", "copyng"], "'copying'"),
        (["show", "copying", "--set", "task.encoding=onehop"], "'onehot'"),
    ],
)
def test_a_misspelling_is_answered_with_the_nearest_right_name(capsys, tmp_path, monkeypatch, argv, nearest):
    monkeypatch.chdir(tmp_path)
    assert nearest in refused(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run"], "NAME|FILE"),
        (["run", "demo", "--seeds", "one"], "--seeds"),
        (["run", "demo", "--seeds", "-1"], "at least one integer, each"),
        (["run", "demo", "--workers", "0", "--profile", "smoke"], "workers: must be an integer ≥ 1"),
        (["run", "nowhere.toml"], "No such file"),
        (["resume", "nowhere"], "study folder"),
        (["report", "nowhere"], "study folder"),
        (["report"], "at least one"),
        (["data", "check", "nowhere"], "nowhere"),
        (["data", "fetch", "imagenet"], "mnist"),
        (["data", "--nonsense"], "nonsense"),
        (["run", "smnist", "--profile", "smoke", "--data", "nowhere"], "bptt data fetch mnist"),
    ],
)
def test_bad_input_ends_with_a_message(capsys, tmp_path, monkeypatch, argv, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


def test_all_problems_of_a_spec_are_told_at_once(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["--set", "train.lr=-1", "--set", "task.delai=3", "--set", "model.cell=1"]
    text = refused(capsys, "run", "copying", *settings, "--arms", "h-detach")
    assert "copying: 4 problems" in text
    for key in ("train.lr", "task.delai", "model.cell", "arms"):
        assert f"  {key}: " in text
    assert list(tmp_path.iterdir()) == []


def test_ls_names_experiments_profiles_costs_and_arms(capsys):
    assert main(["ls"]) == 0
    text = capsys.readouterr().out
    for name in experiments.names():
        assert name in text
        assert experiments.read(name)["experiment"]["title"].split()[0] in text
    for word in ("smoke", "lite", "paper", "minutes", "vanilla"):
        assert word in text


def test_show_gives_every_resolved_value_and_the_runs(capsys):
    assert main(["show", "copying", "--profile", "paper", "--set", "task.delay=300"]) == 0
    text = capsys.readouterr().out
    for line in (
        "delay = 300",
        'encoding = "scalar"',
        "hidden_size = 128",
        "anneal_epochs = 39",
        "weight_decay = 0.0",
    ):
        assert f"\n{line}\n" in text
    assert "arXiv 1810.03023" in text
    assert "21 runs in copying-paper/" in text
    assert "h-detach-0.5/seed-6" in text
    assert main(["show", "copying", "--text"]) == 0
    assert capsys.readouterr().out == experiments.source_text("copying")


def test_show_needs_no_data(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("BPTT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["show", "pmnist"]) == 0
    assert "permutation_seed = 0" in capsys.readouterr().out


def test_doctor_tells_versions_devices_backends_data_and_disk(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("BPTT_DATA", str(tmp_path / "here"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert main(["doctor", "--out", str(tmp_path / "runs")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for subject in (
        "python",
        "torch",
        "cpu",
        "threads",
        "gpu",
        "backend reference",
        "data mnist",
        "smnist-5k",
        "disk",
    ):
        assert subject in text
    assert "bptt data fetch mnist" in text
    assert not (tmp_path / "runs").exists()


def test_doctor_finds_the_data(capsys, data_root):
    assert main(["doctor", "--data", str(data_root)]) == 0
    assert str(data_root / "mnist") in "".join(capsys.readouterr().out.split())


def test_doctor_fails_if_something_essential_is_broken(capsys, monkeypatch, tmp_path):
    from importlib import metadata

    from bptt.cli import _doctor

    def version(name):
        if name == "safetensors":
            raise metadata.PackageNotFoundError(name)
        return metadata.version(name)

    monkeypatch.setattr(_doctor, "version", version)
    assert main(["doctor", "--out", str(tmp_path)]) == 1
    assert "not installed" in capsys.readouterr().out


def test_data_is_checked(capsys, data_root, tmp_path):
    assert main(["data", "check", str(data_root)]) == 0
    assert "t10k-labels-idx1-ubyte: right" in capsys.readouterr().out
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"no image")
    assert main(["data", "check", str(tmp_path)]) == 1
    assert "missing" in capsys.readouterr().out


def test_a_download_that_fails_says_so(capsys, monkeypatch, tmp_path):
    from bptt import tasks

    def fetch(name, dest, *, progress):
        progress("file", 0, 2_000_000)
        progress("file", 1, 2_000_000)
        raise tasks.data.DownloadError("no address gave the file")

    monkeypatch.setattr(tasks.data, "fetch", fetch)
    assert main(["data", "fetch", "mnist", "--dest", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert output.out == "fetching file, 2.0 MB\n"
    assert "no address gave the file" in output.err


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(experiments, "load", broken)
    with pytest.raises(ZeroDivisionError):
        main(["run", "demo"])
