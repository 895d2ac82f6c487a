"""A scorer is loaded once per run, and the one before it is let go."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from restrl.config import (
    Config,
    DatasetConfig,
    DecoderConfig,
    EngineConfig,
    ModelConfig,
    PathsConfig,
    SamplingConfig,
    SandboxConfig,
    ScorerConfig,
    TrainerConfig,
)
from restrl.scoring.verifier import Verifier
from restrl.stages.evaluation import Method, evaluate_step
from tests.stages.opened import opened
from tests.threads import one_thread

__all__ = ["one_thread"]


def small(outputs: Path) -> Config:
    return Config(
        model=ModelConfig(name="tiny", source="random"),
        dataset=DatasetConfig(train_limit=6, max_tokens=3),
        engine=EngineConfig(chunk_problems=2),
        sandbox=SandboxConfig(workers=1),
        trainer=TrainerConfig(accelerator="cpu"),
        paths=PathsConfig(outputs=str(outputs)),
    )


@pytest.fixture
def loaded(monkeypatch) -> list[weakref.ref]:
    """The scorers that were made."""
    made: list[weakref.ref] = []

    class Counted(Verifier):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    monkeypatch.setattr("restrl.scoring.registry.Verifier", Counted)
    return made


def test_once_for_all_chunks_of_all_evaluations(tmp_path: Path, loaded: list[weakref.ref]) -> None:
    with opened(small(tmp_path)) as (session, resources):
        problems = resources.problems("train")
        for answers in (1, 2):  # two evaluations of three chunks each
            sampling = SamplingConfig(n=2, max_tokens=3)
            decoder = DecoderConfig(name="best_of_n", sampling=sampling, answers=answers)
            method = Method(decoder, ScorerConfig(name="verifier"))
            _, outcomes = evaluate_step(session, resources, resources.base, problems, method, "evaluate")
            assert len(outcomes) == 6 * answers
    assert len(loaded) == 1


def test_at_most_one_is_in_memory(tmp_path: Path, loaded: list[weakref.ref]) -> None:
    with opened(small(tmp_path)) as (_, resources):
        train, heldout = resources.problems("train"), resources.problems("heldout")
        first, other = ScorerConfig(name="verifier"), ScorerConfig(name="verifier", max_tokens=99)
        assert resources.scorer(first, train) is resources.scorer(ScorerConfig(name="verifier"), train)
        resources.scorer(other, train)
        resources.scorer(other, heldout)  # a verifier knows its problems
        gc.collect()
        assert [reference() is None for reference in loaded] == [True, True, False]
