"""``trainer.estimate=true``: a table, exit code 0 for what fits, and 2 with one line for what does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from restrl.config import (
    Config,
    DecoderConfig,
    EngineConfig,
    EvaluationConfig,
    ModelConfig,
    RowConfig,
    SamplingConfig,
    ScorerConfig,
    StageConfig,
    TrainerConfig,
)
from restrl.errors import UserError
from restrl.model.tiny import tiny_model
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
        evaluation=EvaluationConfig(rows=[RowConfig("trained", "best_of_n", "vm")]),
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


def test_decoding(tmp_path: Path) -> None:
    """Nothing is answered, and no rank is started."""
    places = ("model=tiny", f"paths.outputs={tmp_path / 'outputs'}", f"hydra.run.dir={tmp_path / 'run'}")
    settings = ("trainer.estimate=true", "trainer=ddp", "decoder=greedy", "decoder.k=[1]")
    command = [sys.executable, "decode.py", *places, *settings]
    found = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert found.returncode == 0, found.stderr
    first, *_, last = found.stdout.splitlines()
    assert first.startswith("model=tiny: 0.0986 million weights; ")
    assert last.startswith("it fits: sampling needs most, ")
    assert not (tmp_path / "outputs").exists()
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {".hydra", "decode.log"}


@pytest.mark.parametrize(
    ("decoder", "scorer", "phases"),
    [
        ("greedy", "none", ["sampling"]),
        ("best_of_n", "verifier", ["sampling"]),
        ("best_of_n", "vm", ["sampling", "rating"]),
        ("mcts", "vm", ["searching", "rating"]),
        ("replay", "none", ["replay"]),
    ],
)
@pytest.mark.parametrize("stage", ["evaluate", "rest_grpo"])  # of train.py, and of decode.py
def test_phases_of_a_decoding(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    decoder: str,
    scorer: str,
    phases: list[str],
) -> None:
    model = tiny_model().config
    model.hidden_size = 4096  # not small in GiB
    model.save_pretrained(tmp_path)
    config = Config(
        stage=StageConfig(name=stage), model=ModelConfig(name="x", path=str(tmp_path), dtype="float32"),
        decoder=DecoderConfig(name=decoder, sampling=SamplingConfig(n=8, max_tokens=1000)),
        scorer=ScorerConfig(name=scorer, path=str(tmp_path)), engine=EngineConfig(kv_gb=0.5),
        trainer=TrainerConfig(accelerator="cpu", memory_gb=80),
    )  # fmt: skip
    estimate(config, decodes=stage != "evaluate")
    lines = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in lines[1].split("|")[2:-1]] == phases
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[3:-1]]
    rows = {row[0]: row[1:] for row in cells}
    rated = [phase == "rating" or (phase == "searching" and scorer == "vm") for phase in phases]
    assert [bool(cell) for cell in rows.get("scorer", [""] * len(phases))] == rated
    assert [bool(cell) for cell in rows.get("parameters", [""])] == [decoder != "replay"] * len(phases)


def test_a_scorer_that_is_not_found(tmp_path: Path) -> None:
    config = Config(
        model=ModelConfig(name="tiny", source="random"),
        decoder=DecoderConfig(name="best_of_n"),
        scorer=ScorerConfig(name="vm", path=str(tmp_path)),
    )
    with pytest.raises(UserError, match=r"scorer\.path=.*: its configuration was not found"):
        estimate(config, decodes=True)
