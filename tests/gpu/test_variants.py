"""The script for a GPU, on a CPU and a tiny shape: that it runs, and what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.gpu.variants import text

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


def test_a_variant_that_fails_is_said() -> None:
    row = {"size": "0.5B", "training": "fit", "strategy": "auto", "sequences": "packed", "attention": "flex"}
    assert text(row | {"error": "no memory"}).split()[-3:] == ["FAILED:", "no", "memory"]
