"""The command line without a run: help, misspellings, listings, and what is refused."""

import subprocess
import sys

import pytest
from helpers.commands import refused

from bptt import experiments
from bptt.cli import main


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_names_every_command(capsys, argv):
    assert main(argv) == 0
    text = capsys.readouterr().out
    for command in ("ls", "show", "run", "resume", "report", "doctor", "data"):
        assert f"\n  {command} " in text


@pytest.mark.parametrize("command", ["ls", "show", "run", "resume", "report", "doctor", "data"])
def test_every_command_has_help(capsys, command):
    assert main([command, "--help"]) == 0
    assert f"usage: bptt {command}" in capsys.readouterr().out


def test_help_of_run_names_its_flags(capsys):
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    assert """'arms."h-detach-0.25".detach.h=0.5'""" in text
    assert "0 done, 1 some runs failed, 2 bad input, 130 stopped" in " ".join(text.split())
    for flag in ("profile", "seeds", "arms", "device", "data", "out", "set", "workers"):
        assert f"--{flag} " in text
    assert "None" not in text


def test_help_tells_every_exit_status(capsys):
    main(["--help"])
    _, _, told = capsys.readouterr().out.partition("exit status:")
    assert [line.split()[0] for line in told.strip().splitlines()] == ["0", "1", "2", "130"]


def test_the_help_of_report_requires_folders(capsys):
    assert main(["report", "--help"]) == 0
    text = capsys.readouterr().out
    assert "run folders. (required)" in text
    assert "(default: )" not in text


def test_version(capsys):
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bptt {version('bptt')}\n"


def test_a_commands_help_does_not_wait_for_torch():
    code = "import sys\nfrom bptt.cli import main\nmain(['run', '--help'])\n"
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
        (["run", "--sed", "1", "demo"], "'--seeds'"),
        (["show", "demo", "--txt"], "'--text'"),
        (["data", "chek", "."], "'check'"),
        (["data", "fetch", "mnst"], "'mnist'"),
        (["data", "fetch", "mnist", "--des=x"], "'--dest'"),
        (["doctor", "--data-dir", "x"], "'--data'"),
    ],
)
def test_a_misspelling_is_answered_with_the_nearest_right_name(capsys, tmp_path, monkeypatch, argv, nearest):
    monkeypatch.chdir(tmp_path)
    assert nearest in refused(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run"], "bptt run takes one experiment: a name of `bptt ls` or a spec file, got none"),
        (["run", "--workers", "2"], "one experiment: a name of `bptt ls` or a spec file, got none"),
        (
            ["run", "demo", "copying"],
            "one experiment: a name of `bptt ls` or a spec file, got 'copying' as well",
        ),
        (["show"], "bptt show takes one experiment"),
        (["ls", "demo"], "bptt ls takes only flags, got 'demo' as well"),
        (
            ["run", "demo", "--seeds", "one"],
            "--seeds must be whole numbers with spaces between them, such as",
        ),
        (["run", "demo", "--seeds", "3,4"], "such as --seeds 3 4, got '3,4'"),
        (
            ["run", "demo", "--workers", "two"],
            "--workers must be a whole number, such as --workers 2, got 'two'",
        ),
        (
            ["resume", ".", "--workers", "1.5"],
            "--workers must be a whole number, such as --workers 2, got '1.5'",
        ),
        (["run", "demo", "--set"], "bptt run takes a value after --set, got none"),
        (["run", "demo", "--profile", "--seeds", "1"], "bptt run takes a value after --profile, got none"),
        (["run", "demo", "--accept-environment", "yes"], "got 'yes' as well"),
        (["data"], "bptt data takes one of check, fetch, got none"),
        (["data", "fetch"], "bptt data fetch takes one data set: mnist, got none"),
        (["run", "demo", "--seeds", "-1"], "at least one integer, each"),
        (["run", "demo", "--workers", "0", "--profile", "smoke"], "workers: must be an integer ≥ 1"),
        (["run", "nowhere.toml"], "No such file"),
        (["resume", "nowhere"], "nowhere must be a study folder or a run folder, but there is no nowhere."),
        (
            ["report", "nowhere/at"],
            "nowhere/at must be a study folder or a run folder, but there is no nowhere.",
        ),
        (["report"], "at least one"),
        (["data", "check", "nowhere"], "nowhere"),
        (["data", "fetch", "imagenet"], "mnist"),
        (["data", "--nonsense"], "nonsense"),
        (["run", "smnist", "--profile", "smoke", "--data", "nowhere"], "bptt data fetch mnist"),
        (["run", "smnist", "--profile", "smoke", "--data", "nowhere"], "nowhere (no such folder)"),
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


def test_ls_keeps_a_title_apart_from_the_costs(capsys):
    assert main(["ls"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert "demo  Digits read pixel by pixel (5,000 images)" in lines
    assert "  arms          vanilla, h-detach-0.25" in lines
    assert "  smoke         seconds; too short to mean anything" in lines


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


@pytest.mark.parametrize(
    "name", [name for name in experiments.names() if not experiments.load(name).measured]
)
@pytest.mark.parametrize("profile", ["smoke", "paper", None])
def test_the_text_that_show_gives_obeys_profile_and_settings(capsys, tmp_path, name, profile):
    settings = ["train.lr=0.5", "arms.vanilla.train.epochs=97", r'experiment.title="a \"b\" \\ é\u007f"']
    flags = [word for setting in settings for word in ("--set", setting)]
    flags += [] if profile is None else ["--profile", profile]
    assert main(["show", name, *flags, "--text"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"# bptt show {name} --set train.lr=0.5 ")
    file = tmp_path / "same.toml"
    file.write_text(text)
    expected, same = experiments.load(name, profile=profile, settings=settings), experiments.load(file)
    assert same.profile == "base"
    for part in ("experiment", "title", "source", "seeds", "arms", "base"):
        assert getattr(same, part) == getattr(expected, part)


def test_show_refuses_a_wrong_setting_beside_text(capsys):
    assert "'train.epochs'" in refused(capsys, "show", "demo", "--text", "--set", "train.epoch=3")


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

    from bptt import _versions

    def version(name):
        if name == "safetensors":
            raise metadata.PackageNotFoundError(name)
        return metadata.version(name)

    monkeypatch.setattr(_versions, "version", version)
    assert main(["doctor", "--out", str(tmp_path)]) == 1
    assert "not installed" in capsys.readouterr().out


def test_data_is_checked(capsys, data_root, tmp_path):
    assert main(["data", "check", str(data_root)]) == 0
    assert "t10k-labels-idx1-ubyte.gz: right" in capsys.readouterr().out
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"no image")
    assert main(["data", "check", str(tmp_path)]) == 1
    assert "missing" in capsys.readouterr().out


def test_each_file_is_checked_under_its_own_name(capsys, tmp_path):
    for name in ("train-labels-idx1-ubyte", "train-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes(b"no label")
    assert main(["data", "check", str(tmp_path)]) == 1
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert len(set(names)) == len(names) == 5
    assert {"train-labels-idx1-ubyte:", "train-labels-idx1-ubyte.gz:"} < set(names)


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
