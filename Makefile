# make demo   sets everything up and trains vanilla and h-detach on real digits, ending in a report
# make test   sets everything up and passes the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs

.PHONY: setup demo test test-slow lint docs clean

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
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -q -n 2 -m "not slow" -k triton tests/ops

test-slow: setup
	$(BIN)/python -m pytest -q -n 2 -m slow --timeout 1800

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: setup
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) $(RUNS) build docs/_build
