"""What `run` and `resume` say at the end, and with which status: results, failures, and what to do next."""

import shlex

import pytest

from bptt import experiments, train
from bptt.cli import main

RUNS = experiments.load("copying", profile="smoke").runs[:2]


def outcome(folder, non_finite=None):
    return train.Outcome(
        folder=folder, spec="", status="non-finite loss" if non_finite else "completed", epoch=2, step=7,
        best=None, test=None, non_finite=non_finite, metrics_sha256="", weights_sha256=None,
        environment_changed=False,
    )  # fmt: skip


@pytest.fixture
def study(tmp_path):
    """A folder with a blank in its name, so that it must be quoted."""
    folder = tmp_path / "my runs" / "copying-smoke"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def resumed(monkeypatch, study, capsys):
    """Resumes a folder whose two runs end as told: status, stdout, stderr."""

    def resume(first, second, *, interrupted=False, folder=study):
        events = {}
        for run, (kind, told) in zip(RUNS, (first, second), strict=True):
            events[run.folder] = experiments.Event(kind, run, study / run.folder, **told)
        result = experiments.Result(study, events, interrupted)
        monkeypatch.setattr(experiments, "resume", lambda *_, **__: result)
        status = main(["resume", str(folder)])
        return status, *capsys.readouterr()

    return resume


def finished(folder, non_finite=None):
    return "end", {"outcome": outcome(folder, non_finite)}


def test_what_is_done_is_counted_and_its_report_named(resumed, study):
    status, out, err = resumed(finished(study), ("skip", {"outcome": outcome(study)}))
    assert (status, err) == (0, "")
    assert f"ended: 2 of 2 runs, in {study}\n" in out
    assert out.endswith(f"table, page and figures:  bptt report {shlex.quote(str(study))}\n")
    assert "\u2500" not in out
    assert "\u2501" not in out  # the table is for `report`


def test_a_run_that_diverged_is_a_result_and_named(resumed, study):
    non_finite = {"loss": float("nan"), "grad_norm": float("inf")}
    status, out, err = resumed(finished(study), finished(study, non_finite))
    assert (status, err) == (0, "")
    place = study / RUNS[1].folder / "done.json"
    assert (
        f"{RUNS[1].name} ended at step 7, in epoch 2, with a non-finite loss (loss nan, gradient norm inf); "
        f"see {place}\n"
    ) in out
    assert "ended: 2 of 2 runs" in out


def test_failures_are_named_before_how_to_resume_after_ctrl_c(resumed, study):
    failed = "failed", {"text": "ValueError: no such thing"}
    status, out, err = resumed(failed, ("stopped", {"saved": True}), interrupted=True)
    assert status == 130
    assert "ended: 0 of 2 runs" in out
    assert err.splitlines() == [
        f"error: {RUNS[0].name} failed: ValueError: no such thing",
        f"1 of 2 runs failed: {RUNS[0].name}",
        f"stopped; all of it is saved, continue with:  bptt resume {shlex.quote(str(study))}",
    ]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (("stopped", {"saved": False}), "stopped; go on from the last checkpoints with:"),
        (("stopped", {"saved": None}), "stopped before the first step of any run; begin with:"),
        (("queue", {"saved": True}), "stopped; all of it is saved, continue with:"),
        (("queue", {}), "stopped before the first step of any run; begin with:"),
    ],
)
def test_the_last_line_claims_no_more_than_what_is_saved(resumed, study, second, said):
    _, _, err = resumed(("stopped", {}), second, interrupted=True)
    assert err == f"{said}  bptt resume {shlex.quote(str(study))}\n"


def test_a_run_that_was_resumed_alone_is_what_to_resume(resumed, study):
    place = study / RUNS[0].folder
    place.mkdir(parents=True)
    _, _, err = resumed(
        ("stopped", {"saved": True}), ("stopped", {"saved": True}), interrupted=True, folder=place
    )
    assert err.endswith(f"continue with:  bptt resume {shlex.quote(str(place))}\n")


def test_failed_runs_say_where_to_look_and_how_to_go_on(resumed, study):
    place = study / RUNS[1].folder
    place.mkdir(parents=True)
    (place / "failed.json").touch()
    status, _, err = resumed(finished(study), ("failed", {"text": "DiskFullError: no space left"}))
    assert status == 1
    assert err.splitlines() == [
        f"error: {RUNS[1].name} failed: DiskFullError: no space left; see {place / 'failed.json'}",
        f"1 of 2 runs failed: {RUNS[1].name}",
        f"once the cause is mended, go on with:  bptt resume {shlex.quote(str(study))}",
    ]


def test_another_environment_is_accepted_by_a_flag(resumed, study):
    status, _, err = resumed(finished(study), ("failed", {"text": "EnvironmentChangedError: torch: 2 then"}))
    assert status == 1
    again = f"bptt resume {shlex.quote(str(study))} --accept-environment"
    assert err.endswith(f"go on here all the same, which marks the runs:  {again}\n")
