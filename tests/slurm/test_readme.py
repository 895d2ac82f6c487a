"""The first try that the README offers, word for word."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.stages.processes import ROOT

pytestmark = pytest.mark.timeout(1500)  # a busy machine is no failure


def first_try() -> list[str]:
    """The three commands: a sweep, a pipeline, its state."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"\*\*A first try\*\*.*?```bash\n(.*?)```", readme, re.DOTALL)
    assert block is not None
    return [line for line in block[1].splitlines() if not line.startswith("#")]


def test_the_first_try_works_at_once(cluster: Cluster, tmp_path: Path) -> None:
    outputs = f"paths.outputs={tmp_path}"

    def run(command: str, *arguments: str) -> str:
        program, *others = shlex.split(command)
        assert program == "python"
        done = subprocess.run(
            [sys.executable, *others, outputs, *arguments],
            capture_output=True, text=True, cwd=ROOT, env=cluster.environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    sweep, pipeline, status = first_try()
    assert status == f"{pipeline} --status"
    said = run(sweep)
    assert re.search(r"submitted 4 runs as job \d+ ", said)
    assert said.count("): done") == 4
    assert "sample_1" in run(pipeline)
    assert "2 waiting" in run(status)
    assert f"results: {tmp_path}/pipelines/" in run(pipeline, "--watch", "--poll", "1")
    assert f"results: {tmp_path}/pipelines/" in run(status)
    (report,) = tmp_path.glob("pipelines/*/report/report.md")
    assert "pass@1" in report.read_text(encoding="utf-8")
