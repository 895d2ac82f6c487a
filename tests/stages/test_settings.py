"""What decides numbers: a key that does changes a step's fingerprint, a key that does not changes none."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from restrl.artifacts import fingerprint
from restrl.config import Config, LoraConfig, ModelConfig, ScorerConfig, TrainerConfig, deciding
from restrl.config_fields import unread
from restrl.engine.registry import ENGINES
from restrl.stages.rest_rl import Row, method_of
from restrl.stages.settings import VERSIONS, settings

CPU = torch.device("cpu")
# two examples of each kind, so that a wrong mark is not tested by itself alone
DECIDE = {"seed", "model.dtype", "model.date", "model.lora.r", "engine.batch_size", "sandbox.memory_mb",
          "grpo.sample.n", "grpo.objective.kl", "mcts.in_flight", "decoder.sampling.n", "vm.lr",
          "scorer.max_tokens", "evaluation.completions", "trainer.precision"}  # fmt: skip
DO_NOT = {"stage.name", "model.name", "model.checkpointing", "dataset.name", "grpo.iterations",
          "grpo.tokens_per_microbatch", "grpo.logit_chunk", "grpo.checkpoint_every", "sandbox.workers",
          "sandbox.cache", "trainer.accelerator", "decoder.bootstrap", "vm.checkpoint_every",
          "scorer.tokens_per_batch", "evaluation.rows", "paths.outputs"}  # fmt: skip

UNREAD = ("engine.name",  # another engine reads other keys
          "scorer.name",  # another scorer reads other keys
          "evaluation.mcts.completions")  # evaluation.completions takes its place  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration in which every setting can matter: adapters, a search that a scorer teaches."""
    for name in ("prm", "prm2"):  # a place and another one with the same content
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    made = Config(
        model=ModelConfig(dtype="bfloat16", lora=LoraConfig(r=4)),
        scorer=ScorerConfig(name="math_shepherd", path=str(tmp_path / "prm"), separator=";"),
        trainer=TrainerConfig(precision="32-true"),
    )
    made.decoder.name = "mcts"
    made.paths.cache = str(tmp_path)
    return made


def fingerprints(config: Config) -> dict[str, str]:
    """Of every step; of evaluations that of the configured decoder and that of a row of the comparison."""
    row = method_of(config, Row("base", "mcts", "verifier"), ScorerConfig(name="verifier"))
    compared = dataclasses.replace(config, decoder=row.decoder, scorer=row.scorer)
    steps = [(step, config) for step in VERSIONS] + [("evaluate", compared)]
    return {
        f"{number} {step}": fingerprint(step, settings(step, one, CPU), {}, one.seed)
        for number, (step, one) in enumerate(steps)
    }


def leaves(node: Any, prefix: str = "", decides: bool = True) -> Iterator[tuple[str, Any, Any, bool]]:
    """(key, node, field, whether it and all groups around it decide) of every key of the schema."""
    for item in dataclasses.fields(node):
        marked = decides and item.metadata.get("decides", True) and not unread(node, item)
        value = getattr(node, item.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{item.name}.", marked)
        else:
            yield f"{prefix}{item.name}", node, item, marked


def other(item: Any, value: Any, kind: Any) -> Any:
    """A value of the same type that is allowed too."""
    if (choices := item.metadata.get("choices")) is not None:
        return choices[(choices.index(value) + 1) % len(choices)] if value in choices else choices[0]
    if value is None:
        kind = next((one for one in typing.get_args(kind) if one is not type(None)), str)
        return {int: 64, float: 0.5, str: "other", bool: True, list[str]: ["other"]}[kind]
    if isinstance(value, bool):
        return not value
    if isinstance(value, dict):
        return {**value, "other": 1}
    if isinstance(value, list):
        return [*value, 2 if kind == list[int] else "other"]
    if isinstance(value, str):
        return value + "2"
    return value + 1 if isinstance(value, int) else value / 2 + 0.01


@pytest.mark.parametrize("engine", ENGINES)
def test_every_key_changes_what_it_says(config: Config, engine: str) -> None:
    config.engine.name = engine
    before, found = fingerprints(config), dict[str, bool]()
    for key, node, item, marked in leaves(config):
        if key in UNREAD:
            continue
        kept = getattr(node, item.name)
        setattr(node, item.name, other(item, kept, typing.get_type_hints(type(node))[item.name]))
        changed = fingerprints(config) != before
        setattr(node, item.name, kept)
        assert changed == marked, f"{key}: marked as {'' if marked else 'not '}deciding"
        found[key] = marked
    assert fingerprints(config) == before
    of_hf = {"engine.batch_size"} if engine not in ("hf", "vllm") else set()
    assert {key for key in (DECIDE | DO_NOT) - of_hf if found[key] != (key in DECIDE)} == set()


def test_each_key_of_stage_1_is_read_by_one_step(config: Config) -> None:
    steps = {
        item.name: item.metadata.get("step")
        for item in dataclasses.fields(config.grpo)
        if item.metadata.get("decides", True)
    }
    assert set(steps.values()) == {"sample", "assemble", "grpo"}
    before = fingerprints(config)
    config.grpo.sigma0 = 0.2
    after = fingerprints(config)
    assert [key for key in after if after[key] != before[key]] == [
        "1 assemble",
        "4 pairs",
    ]  # the filter of both


def test_each_key_of_a_baseline_is_read_by_one_step(config: Config) -> None:
    for group, examples in (("dpo", "pairs"), ("sft", "accepted")):
        node = getattr(config, group)
        steps = {
            item.metadata.get("step")
            for item in dataclasses.fields(node)
            if item.metadata.get("decides", True)
        }
        assert steps == {examples, "train"}
        before = fingerprints(config)
        node.lr = 0.5
        after = fingerprints(config)
        assert [key.split()[1] for key in after if after[key] != before[key]] == [group]


def test_a_key_that_names_no_step_is_read_by_all() -> None:
    @dataclasses.dataclass
    class Group:
        own: int = dataclasses.field(default=1, metadata={"step": "sample"})
        new: int = 2
        place: str = dataclasses.field(default="x", metadata={"decides": False})

    assert deciding(Group(), "sample") == {"own": 1, "new": 2}
    assert deciding(Group(), "grpo") == {"new": 2}
    assert deciding(Group()) == {"own": 1, "new": 2}


def test_a_key_that_the_choice_of_a_group_does_not_read_decides_nothing() -> None:
    @dataclasses.dataclass
    class Group:
        name: str = "a"
        of_all: int = 1
        of_a: int = dataclasses.field(default=2, metadata={"readers": ("a",)})
        of_b: int = dataclasses.field(default=3, metadata={"readers": ("b", "c")})

    assert deciding(Group()) == {"name": "a", "of_all": 1, "of_a": 2}
    assert deciding(Group("c")) == {"name": "c", "of_all": 1, "of_b": 3}


def test_what_auto_comes_to_is_what_counts(config: Config) -> None:
    config.model.dtype = config.trainer.precision = config.trainer.accelerator = "auto"
    auto = fingerprints(config)
    config.model.dtype, config.trainer.precision, config.trainer.accelerator = "float32", "32-true", "cpu"
    assert fingerprints(config) == auto
    config.model.dtype = "bfloat16"
    assert {key for key, value in fingerprints(config).items() if value == auto[key]} == {
        "1 assemble",
        "2 initial_states",
        "4 pairs",
        "6 accepted",
    }


def test_another_device_is_another_artifact(config: Config) -> None:
    no_model = {"assemble", "initial_states", "pairs", "accepted"}
    for step in sorted(set(VERSIONS) - no_model):
        here, there = (settings(step, config, torch.device(kind)) for kind in ("cpu", "cuda"))
        assert here != there, step


@pytest.mark.parametrize("step", VERSIONS)
def test_a_newer_step_does_not_take_what_an_older_one_made(
    config: Config, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = settings(step, config, CPU)
    monkeypatch.setitem(VERSIONS, step, VERSIONS[step] + 1)
    assert settings(step, config, CPU) == before | {"version": before["version"] + 1}
    json.dumps(before)  # plain data, for the manifest


def test_a_file_of_answers_is_judged_the_same_by_whatever_would_sample(config: Config) -> None:
    config.decoder.name = "replay"
    before = settings("evaluate", config, CPU)
    config.model.dtype, config.decoder.sampling.n, config.engine.batch_size = "float16", 77, 3
    assert settings("evaluate", config, torch.device("cuda")) == before
    config.sandbox.memory_mb = 99
    assert settings("evaluate", config, CPU) != before


def test_another_engine_is_another_artifact(config: Config) -> None:
    for step in ("sample", "grpo", "collect", "decode_samples", "evaluate"):
        found = []
        for name in ENGINES:
            config.engine.name = name
            found.append(fingerprint(step, settings(step, config, CPU), {}, 0))
        assert len(set(found)) == len(ENGINES), step
