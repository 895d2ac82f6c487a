"""OpenMP's threads sleep at barriers, unless the user says otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHOW = "assert 'torch' not in sys.modules; print(os.environ.get('OMP_WAIT_POLICY'))"


@pytest.mark.parametrize("module", ["restrl", "restrl.cli", "train", "decode", "tests"])
@pytest.mark.parametrize(("users", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_the_policy_stands_before_torch_loads(module, users, policy):
    variables = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    variables |= {} if users is None else {"OMP_WAIT_POLICY": users}
    command = [sys.executable, "-c", f"import os, sys, {module}; {SHOW}"]
    run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [policy]
