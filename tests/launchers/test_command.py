"""python -m launchers.pipeline: its arguments and its plan, without a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from launchers.pipeline import main


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
