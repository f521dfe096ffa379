"""What changes the bytes of a run is noticed before it is resumed."""

import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import runs

from bptt import train

TESTS = Path(__file__).parents[1]
CONFIG = train.Config(epochs=1, seed=0)


def elsewhere(code, *arguments, **variables):
    """What a process with these environment variables prints."""
    completed = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=TESTS,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.strip()


def stopped(folder, **given):
    with pytest.raises(train.Interrupted):
        runs.fit(
            folder,
            observe=lambda progress: progress.step == 6 and os.kill(os.getpid(), signal.SIGINT),
            **given,
        )
    return {path.name: path.read_bytes() for path in folder.iterdir()}


RESUME = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from helpers import runs
from bptt import train
torch.use_deterministic_algorithms(True)  # as conftest.py does
try:
    runs.fit(Path(sys.argv[1]))
except train.EnvironmentChangedError as error:
    print(*error.differences, sep="\\n")
"""


def test_a_run_is_not_resumed_where_mkl_computes_other_bits(tmp_path):
    stopped(tmp_path)
    told = elsewhere(RESUME, tmp_path, MKL_CBWR="COMPATIBLE").splitlines()
    assert "MKL_CBWR: not recorded then, COMPATIBLE now" in told
    assert {line.partition(":")[0] for line in told} <= {"MKL_CBWR", "fingerprint"}
    assert "EnvironmentChangedError" in train.read_failure(tmp_path)["error"]
    assert elsewhere(RESUME, tmp_path) == "", "other bits alone are told apart, and not another process"
    assert train.verify_outcome(tmp_path).status == "completed"
    if len(told) == 1:
        pytest.skip("MKL computes the same bits on this machine whatever MKL_CBWR says")


def test_the_fingerprint_depends_on_precision_and_on_how_torch_rounds():
    plain = train.environment(CONFIG)["fingerprint"]
    double = train.environment(train.Config(epochs=1, seed=0, precision="float64"))["fingerprint"]
    assert double != plain
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        flushed = train.environment(CONFIG)["fingerprint"]
    finally:
        torch.set_flush_denormal(False)
    assert flushed != plain
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert train.environment(CONFIG)["fingerprint"] != plain
    with torch.inference_mode():
        assert train.environment(CONFIG)["fingerprint"] == plain


def test_taking_the_fingerprint_touches_no_random_stream():
    before = torch.get_rng_state()
    train.environment(CONFIG)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("backend", "device", "words"),
    [
        ("auto: native, reference", "cpu", "the native kernels (avx2)"),
        ("auto: native, reference", "NVIDIA H200", "reference"),
        ("auto: native, cudnn, triton, reference", "NVIDIA H200", "cudnn or triton"),
        ("auto: cudnn, reference", "cpu", "reference"),
        ("auto: reference", "cpu", "reference"),
        ("native", "cpu", "the native kernels (avx2)"),
        ("reference", "cpu", "reference"),
    ],
)
def test_a_run_says_in_words_what_computed_its_recurrences(backend, device, words):
    recorded = {"backend": backend, "device": device, "instruction_set": "avx2", "precision": "float32"}
    assert train.served_by(recorded) == words


TOLD = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from helpers import runs
from bptt import train

def told():
    found = []
    for read in (
        torch.get_float32_matmul_precision,
        lambda: torch.backends.cuda.matmul.allow_tf32,
        lambda: torch.backends.cudnn.allow_tf32,
        lambda: torch.backends.cuda.matmul.fp32_precision,
        lambda: torch.backends.cudnn.rnn.fp32_precision,
        lambda: torch.backends.cudnn.conv.fp32_precision,
        lambda: torch.backends.mkldnn.matmul.fp32_precision,
    ):
        try:
            found.append(read())
        except RuntimeError as error:
            found.append(type(error))
    return found

exec(sys.argv[2])
before = told()
inside = []
runs.fit(Path(sys.argv[3]), observe=lambda _: inside.append(told()))
assert told() == before, (told(), before)
assert inside[0][3:6] == ["ieee"] * 3
print(any(isinstance(each, type) for each in inside[0]))
"""


@pytest.mark.parametrize(
    ("setting", "mixed"),
    [
        ("pass", False),
        ("torch.backends.cuda.matmul.allow_tf32 = True", False),
        ("torch.backends.cudnn.allow_tf32 = False", False),
        ("torch.set_float32_matmul_precision('high')", True),
        ("torch.set_float32_matmul_precision('medium')", True),
        ("torch.backends.cudnn.rnn.fp32_precision = 'ieee'", True),
        ("torch.backends.cuda.matmul.fp32_precision = 'tf32'", True),
    ],
)
def test_products_are_exact_in_float32_and_switches_are_given_back(tmp_path, setting, mixed):
    # Torch refuses to read its older switches where they differ from the newer: `mixed`, by the user's wish,
    # or from oneDNN's, which is left alone.
    command = [sys.executable, "-c", TOLD, str(TESTS), setting, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert mixed or done.stdout.strip() == "False"


def test_no_native_kernel_computes_in_bfloat16():
    told = train.environment(replace(CONFIG, precision="bf16-mixed"))
    assert train.served_by(told) == "reference"


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        *[(name, True) for name in ("MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "OMP_DYNAMIC")],
        *[(name, True) for name in ("ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE")],
        *[(name, False) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "HOME")],
    ],
)
def test_variables_that_decide_bits_are_recorded(monkeypatch, name, recorded):
    monkeypatch.setenv(name, "1")
    assert train.environment(CONFIG).get(name) == ("1" if recorded else None)


def test_settings_of_torch_that_decide_bits_are_recorded():
    plain, deterministic = train.environment(CONFIG), torch.are_deterministic_algorithms_enabled()
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        torch.use_deterministic_algorithms(not deterministic)
        now = train.environment(CONFIG)
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "none"
        torch.use_deterministic_algorithms(deterministic)
    changed = {key for key in now if now[key] != plain[key]} - {"fingerprint"}
    assert changed == {"float32_products", "deterministic"}
    assert train.environment(CONFIG) == plain


def test_the_threads_recorded_are_those_that_torch_takes(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert train.environment(CONFIG)["threads"] == 1
        assert torch.get_num_threads() == 2
        monkeypatch.setattr("torch.set_num_threads", lambda _: None)
        assert train.environment(CONFIG)["threads"] == 2
    finally:
        monkeypatch.undo()
        torch.set_num_threads(before)


def test_a_run_is_not_resumed_with_other_threads_or_another_precision(tmp_path):
    before = stopped(tmp_path, spec={})
    with pytest.raises(train.EnvironmentChangedError) as caught:
        runs.fit(tmp_path, spec={}, threads=2)
    assert "threads: 1 then, 2 now" in caught.value.differences
    with pytest.raises(train.EnvironmentChangedError) as caught:
        runs.fit(tmp_path, spec={}, precision="float64")
    assert "precision: float32 then, float64 now" in caught.value.differences
    (tmp_path / "failed.json").unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_processor_is_refused_with_all_differences_unless_accepted(tmp_path, monkeypatch):
    runs.fit(tmp_path / "undisturbed")
    folder = tmp_path / "run"
    before = stopped(folder)
    monkeypatch.setattr("platform.machine", lambda: "vax")
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "MMX")
    monkeypatch.setattr("bptt.train._environment._cpu_model", lambda: "11/780")
    with pytest.raises(train.EnvironmentChangedError) as caught:
        runs.fit(folder)
    assert caught.value.folder == folder
    assert [line.partition(":")[0] for line in caught.value.differences] == ["machine", "cpu", "cpu_model"]
    assert [line.rpartition(" then, ")[2] for line in caught.value.differences] == [
        "vax now", "MMX now", "11/780 now"
    ]  # fmt: skip
    message = str(caught.value)
    assert all(line in message for line in caught.value.differences)
    assert "accept_environment=True, on the command line --accept-environment" in message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message
    (folder / "failed.json").unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    outcome = runs.fit(folder, accept_environment=True)
    assert outcome.environment_changed
    page = json.loads((folder / "done.json").read_bytes())
    assert page["environment_changed"] is True
    assert [environment["cpu"] for environment in page["environments"]][1:] == ["MMX"]
    assert train.verify_outcome(folder) == outcome
    assert (folder / "metrics.jsonl").read_bytes() == (tmp_path / "undisturbed/metrics.jsonl").read_bytes()


def test_the_processor_is_named():
    assert train.environment(CONFIG)["cpu_model"]


def test_a_run_under_autocast_is_refused_before_anything_is_written(tmp_path):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(
            ValueError, match=r"outside torch\.autocast, .* got autocast on cpu to torch\.bfloat16"
        ):
            runs.fit(tmp_path / "run")
        assert not (tmp_path / "run").exists()
        with torch.autocast("cpu", enabled=False):
            assert runs.fit(tmp_path / "run").status == "completed"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_its_libraries_and_their_settings_are_recorded(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    told = train.environment(CONFIG, "cuda")
    assert (told["cuda"], told["CUBLAS_WORKSPACE_CONFIG"]) == (torch.version.cuda, ":4096:8")
    assert told["cudnn"] == str(torch.backends.cudnn.version())
    assert told["device"] == torch.cuda.get_device_name()
    assert "cuda.matmul" in told["float32_products"]
    assert train.environment(CONFIG, "cuda") == told
