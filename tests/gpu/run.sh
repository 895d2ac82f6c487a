#!/usr/bin/env bash
# On a machine with one GPU, its own torch and no network: the tests that need a GPU, then a few steps of
# ReST-GRPO and of the value model on random Qwen2-shaped models of 0.5B and 1.5B, in every variant.
#
#   bash tests/gpu/run.sh [OUT.json] [--size 0.5B ...]     # PYTHON=... names the interpreter, default python3
#
# The interpreter needs torch and what pyproject.toml lists (deepspeed too, for its variants).
set -euo pipefail
cd "$(dirname "$0")/../.."
python="${PYTHON:-python3}"
out="${1:-gpu.json}"
shift || true
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
"$python" -m pytest -m gpu --timeout 600
"$python" -m tests.gpu.variants --out "$out" "$@"
