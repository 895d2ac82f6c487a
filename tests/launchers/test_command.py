"""python -m launchers.pipeline: its arguments and its plan, without a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from launchers import pipeline
from launchers.pipeline import main
from tests.launchers.test_states import FakeCluster


@pytest.mark.parametrize("stage", ["rest_dpo", "rest_sft"])
def test_a_plan_is_shown_wherever_its_options_stand(
    tmp_path: Path, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = f"paths.outputs={tmp_path}"
    assert main([f"stage={stage}", "--dry-run", "debug=tiny", "launcher=local", outputs]) == 0
    shown = capsys.readouterr().out
    examples, learner = {"rest_dpo": ("pairs", "dpo"), "rest_sft": ("accepted", "sft")}[stage]
    for step in ("sample_1", f"{examples}_1", f"{learner}_2", "answers_trained", "report"):
        assert step in shown
    assert list(tmp_path.iterdir()) == []  # nothing was written or submitted


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """In place of SLURM."""
    fake = FakeCluster(shape="slurm_small")
    monkeypatch.setattr(pipeline, "Slurm", lambda _folder: fake)
    return fake


def test_a_pipeline_remembers_its_launcher(
    tmp_path: Path, cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["stage=rest_grpo", "debug=tiny", f"paths.outputs={tmp_path}"]
    assert main([*command, "--status"]) == 0
    assert "nothing is submitted" in capsys.readouterr().out
    assert main([*command, "launcher=slurm_small"]) == 0
    jobs = len(cluster.alive)
    assert jobs == 17
    assert main([*command, "launcher=local"]) == 2  # the others would go on beside it
    assert "its jobs go on (slurm); end them with --cancel" in capsys.readouterr().err
    assert main(command) == 0
    assert len(cluster.alive) == jobs
    assert main([*command, "--status"]) == 0
    assert "2 waiting" in capsys.readouterr().out
    assert main([*command, "launcher=local", "--cancel"]) == 0
    assert f"ended {jobs} jobs" in capsys.readouterr().out
    assert cluster.alive == {}


def test_the_launchers_of_sweeps_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stage=sample", "hydra/launcher=slurm_small", "--dry-run"]) == 2
    assert "a pipeline takes launcher=NAME" in capsys.readouterr().err
