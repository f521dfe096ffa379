# make demo   sets everything up and trains vanilla and h-detach on real digits, ending in a report
# make test   sets everything up and passes the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs

STAGE ?= check
GPU_PYTHON ?= $(BIN)/python

PRECISION ?= float32
STAGES := copying-100 copying-300 smnist pmnist

.PHONY: setup demo test test-slow gpu gpu-check gpu-sanitize gpu-bench $(STAGES:%=gpu-%) lint docs clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt $(wildcard native/*.* native/simd/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,docs]"
	touch $@

demo: setup
	$(BIN)/bptt run demo --profile lite --out $(RUNS)
	$(BIN)/bptt report $(RUNS)/demo-lite

# The ops once more in pure Python, as on a machine without a compiler; and the GPU's kernels, interpreted.
test: setup
	$(BIN)/python -m pytest -q -n 2 -m "not slow"
	BPTT_ISA=none $(BIN)/python -m pytest -q -n 2 -m "not slow" tests/ops
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -q -n 2 -m "not slow" -k "triton or test_gpu" tests/ops tests/bench/test_gpu.py

test-slow: setup
	$(BIN)/python -m pytest -q -n 2 -m slow --timeout 1800

# Where torch finds an NVIDIA GPU; GPU_PYTHON=python3 takes that Python and what it has, and installs nothing.
gpu: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),setup) gpu-$(STAGE)

gpu-check:
	BPTT_ISA=none PYTHONPATH=src $(GPU_PYTHON) -m pytest -q -rs -o addopts=--import-mode=importlib \
		tests/ops/test_cuda.py tests/ops/triton/test_on_gpu.py tests/train/test_on_gpu.py

gpu-sanitize:
	BPTT_ISA=none PYTHONPATH=src PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --error-exitcode 1 \
		$(GPU_PYTHON) -m pytest -q -o addopts=--import-mode=importlib tests/ops/triton/test_on_gpu.py \
		-k "equals_the_reference and (7 or 100)"

gpu-bench:
	BPTT_ISA=none PYTHONPATH=src $(GPU_PYTHON) -m bptt.bench.gpu --out results/bench/gpu-kernels.json

# A few minutes of a paper's experiment at a time, from runs/gpu/*.tar.xz to the same: again until all have ended.
$(STAGES:%=gpu-%):
	BPTT_ISA=none PYTHONPATH=src $(GPU_PYTHON) -m bptt.experiments.stages $(STAGE) --precision $(PRECISION) $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: setup
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) $(RUNS) build docs/_build
