"""``trainer.estimate=true``: a table, exit code 0 for what fits, and 2 with one line for what does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from restrl.config import (
    Config,
    EngineConfig,
    EvaluationConfig,
    ModelConfig,
    RowConfig,
    StageConfig,
    TrainerConfig,
)  # fmt: skip
from restrl.errors import UserError
from restrl.stages.estimate import estimate

ROOT = Path(__file__).parents[2]


def run(*overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "train.py", "model=tiny", "trainer.estimate=true", *overrides]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)


def test_a_command_that_fits_and_one_that_does_not(tmp_path: Path) -> None:
    outputs = f"paths.outputs={tmp_path}"
    found = run("stage=rest_rl", "trainer=ddp", outputs)  # no rank is started
    assert found.returncode == 0, found.stderr
    first, *_, last = found.stdout.splitlines()
    assert first == "model=tiny: 0.0986 million weights; trainer.strategy=ddp, GiB on each of 2 processes:"
    assert last.startswith("it fits: ")
    assert not list(tmp_path.glob("artifacts*"))
    found = run("trainer.memory_gb=0.4", "engine.kv_gb=0.1", outputs)
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert line.startswith("error: model=tiny with its 0.0986 million weights does not fit: ")
    assert "; what would fit: " in line
    assert "| total" in found.stdout


def shown(capsys: pytest.CaptureFixture[str], stage: str, **trainer: object) -> list[str]:
    config = Config(
        stage=StageConfig(name=stage), model=ModelConfig(name="tiny", source="random"),
        engine=EngineConfig(kv_gb=0.5), trainer=TrainerConfig(memory_gb=80, **trainer),
        evaluation=EvaluationConfig(rows=[RowConfig("base", "best_of_n", "vm")]),
    )  # fmt: skip
    estimate(config)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("stage", "phases"),
    [
        ("sample", ["sampling"]),
        ("rest_grpo", ["sampling", "training all weights (rollouts)", "training all weights"]),
        ("value_model", ["sampling", "fitting the value model"]),
        (
            "rest_rl",
            [
                "sampling", "training all weights (rollouts)", "training all weights",
                "fitting the value model",
            ],
        ),
    ],
)  # fmt: skip
def test_a_column_per_phase(capsys: pytest.CaptureFixture[str], stage: str, phases: list[str]) -> None:
    lines = shown(capsys, stage)
    assert [cell.strip() for cell in lines[1].split("|")[2:-1]] == phases
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[3:-1]]
    for column in range(1, len(phases) + 1):
        *parts, total = [float(row[column] or 0) for row in rows]
        assert total == pytest.approx(sum(parts), abs=0.05)


def test_a_gpu_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "grpo", accelerator="gpu", strategy="deepspeed_zero3_offload", devices=2)
    assert "GiB on each of 2 GPUs:" in lines[0]
    assert any(
        line.startswith("training all weights, in the machine's memory for each GPU: ") for line in lines
    )
    config = Config(trainer=TrainerConfig(accelerator="gpu"))
    with pytest.raises(UserError, match=r"no GPU is visible here; say how much .* trainer\.memory_gb=80"):
        estimate(config)


def test_a_model_that_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model=x: its configuration was not found"):
        estimate(Config(model=ModelConfig(name="x", path=str(tmp_path))))
