from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stages.processes import Run, Strike, run, write_problems

SMALL = (
    "model=tiny", "dataset=jsonl", "dataset.max_tokens=2", "dataset.heldout_fraction=0.4",
    "engine.chunk_problems=2", "sandbox.workers=1", "decoder.sampling.n=2", "decoder.k=[1,2]",
    "decoder.bootstrap=100",
)  # fmt: skip
TRAINING = (
    "grpo.iterations=2", "grpo.sample.n=6", "grpo.r0=0.5", "grpo.complete_solution=true", "grpo.rollout.n=4",
    "grpo.prompts_per_step=3", "grpo.checkpoint_every=2",
)  # fmt: skip


@dataclass(frozen=True)
class Workplace:
    """A folder for runs of the tiny model: problems, outputs, and the run folder of the last command."""

    folder: Path

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    @property
    def last(self) -> Path:
        return self.folder / "run"

    def train(self, *overrides: str, strikes: tuple[Strike, ...] = ()) -> Run:
        return self._run("train.py", *TRAINING, *overrides, strikes=strikes)

    def decode(self, *overrides: str, strikes: tuple[Strike, ...] = ()) -> Run:
        return self._run("decode.py", *overrides, strikes=strikes)

    def results(self) -> dict:
        return json.loads((self.last / "results.json").read_text())

    def lines(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.last / name).read_text().splitlines()]

    @property
    def places(self) -> tuple[str, str]:
        """Where its problems and outputs are."""
        return (f"dataset.path={self.folder / 'problems.jsonl'}", f"paths.outputs={self.outputs}")

    @property
    def arguments(self) -> tuple[str, ...]:
        """The settings that every command here begins with."""
        return (*SMALL, *self.places, f"hydra.run.dir={self.last}")

    def _run(self, script: str, *overrides: str, strikes: tuple[Strike, ...]) -> Run:
        return run(script, self.folder / "console", *self.arguments, *overrides, strikes=strikes)


def make_workplace(folder: Path) -> Workplace:
    write_problems(folder / "problems.jsonl")
    return Workplace(folder)


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return make_workplace(tmp_path)
