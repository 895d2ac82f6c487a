"""The script for a GPU, on a CPU and a tiny shape: that it runs, and what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_variants_run_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "tests.gpu.variants", "--size", "tiny", "--device", "cpu"]
    command += ["--steps", "2", "--sequences", "packed", "--out", str(out)]
    shown = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    rows = json.loads(out.read_text())
    assert [(row["training"], row["attention"]) for row in rows] == [("grpo", "sdpa"), ("fit", "sdpa")]
    for row in rows:
        assert row["tokens"] > 0
        assert row["tokens_per_second"] > 0
        assert row["peak_gib"] > 0
        assert row["utilisation"] is None  # a CPU's peak is not known
    assert len(shown.stdout.splitlines()) == 2


def test_a_variant_that_fails_is_said_and_the_others_go_on(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "tests.gpu.variants", "--size", "tiny", "--training", "fit"]
    command += ["--sequences", "packed", "--strategy", "auto", "--attention", "sdpa", "--out", str(out)]
    shown = subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, env={"CUDA_VISIBLE_DEVICES": "", "HOME": "/"}
    )
    assert shown.returncode == 1
    (row,) = json.loads(out.read_text())
    assert "error" in row
    assert "FAILED" in shown.stdout
