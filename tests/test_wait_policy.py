"""How OpenMP's threads wait is said before torch loads, unless the user has said it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    environment |= variables | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize(
    ("given", "policy", "spin"),
    [
        ({}, None, "1000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", None),  # a spin count of ours would overrule it
        ({"GOMP_SPINCOUNT": "7"}, None, "7"),
        ({"GOMP_SPINCOUNT": ""}, None, ""),
    ],
)
def test_the_users_setting_wins(given, policy, spin):
    shown = run(f"import os, restrl; print([os.environ.get(name) for name in {VARIABLES}])", **given)
    assert shown.stdout == f"{[policy, spin]}\n"


@pytest.mark.parametrize("script", ["train", "decode"])
def test_a_run_says_it_before_torch_loads(script):
    shown = run(f"import os, sys, {script}; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])")
    assert shown.stdout == "False 1000\n"


def test_torchs_openmp_hears_it():
    """GNU's library shows what it has read; another one has another variable, and shows nothing of this."""
    shown = run("import restrl, torch", OMP_DISPLAY_ENV="VERBOSE").stderr
    assert "GOMP_SPINCOUNT = '1000'" in shown or "GOMP" not in shown


def test_the_tests_say_it_too():
    shown = run("import sys, tests; print('torch' in sys.modules, 'restrl' in sys.modules)")
    assert shown.stdout == "False True\n"
