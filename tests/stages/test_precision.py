"""Small updates survive: training goes on from the saved float32 weights, whatever samples are made in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from restrl.config import (
    Config,
    DatasetConfig,
    GrpoConfig,
    LoraConfig,
    ModelConfig,
    PathsConfig,
    SamplingConfig,
    SandboxConfig,
    TrainerConfig,
    VmConfig,
)
from restrl.model.load import load_model
from restrl.model.tiny import tiny_tokenizer
from restrl.records import Cost, StartState
from restrl.stages.fit import fit_step
from restrl.stages.training import GRPO, train_step
from restrl.train import fit
from restrl.train.loop import TrainResult
from tests.stages.conftest import Workplace
from tests.stages.opened import opened
from tests.stages.processes import never
from tests.stages.test_fit import collected, keep

LR = 1e-7
TINY = ModelConfig(name="tiny", source="random")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """A checkpoint whose weights are stored in bfloat16, as on the hub, and sampled in bfloat16."""
    folder = tmp_path_factory.mktemp("published")
    load_model(replace(TINY, dtype="bfloat16"), PathsConfig()).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return ModelConfig(name="published", path=str(folder), dtype="bfloat16")


def config(outputs: Path, model: ModelConfig, precision: str = "auto") -> Config:
    return Config(
        model=model,
        dataset=DatasetConfig(train_limit=6),
        grpo=GrpoConfig(rollout=SamplingConfig(n=2, max_tokens=2)),
        sandbox=SandboxConfig(workers=1, calibrate=False),
        trainer=TrainerConfig(accelerator="cpu", precision=precision),
        paths=PathsConfig(outputs=str(outputs)),
        vm=VmConfig(epochs=1, lr=LR, heldout_fraction=0.4),
    )


def nudge(model, **_):
    """In place of a training: every trained weight moves by the learning rate, up or down."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                signs = torch.randint(0, 2, weight.shape, generator=generator) * 2 - 1
                weight.add_(LR * signs if "lora_A" not in name else 0)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The weights that each grpo step starts from; its training is ``nudge``."""
    found: list[dict[str, torch.Tensor]] = []
    row = dict.fromkeys(
        ("reward", "passed", "reward_std", "zero_variance", "completion_length", "truncated",
         "tokens_per_second", "skipped_updates"), 0.0,
    )  # fmt: skip

    def train(**arguments):
        model = arguments["model"]
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        named = {k.replace(".base_layer", ""): v.clone() for k, v in base.state_dict().items()}
        found.append({k: v for k, v in named.items() if "lora_" not in k})
        nudge(model)
        return TrainResult(1, 1, 0, (row,), Cost())

    monkeypatch.setattr("restrl.stages.training.train_grpo", train)
    return found


def two_iterations(config: Config) -> list:
    """The artifacts of two grpo steps, with a sampling of each policy before."""
    artifacts = []
    with opened(config) as (session, resources):
        policy = resources.base
        with session.store.open("states", {}, {}) as work:
            work.records(StartState).append([StartState("x", (5, 6), "", 0, 0.3)])
            states = work.finish()
        for iteration in (1, 2):
            assert resources.load(policy).model.dtype == getattr(torch, config.model.dtype)  # what samples
            policy, artifact = train_step(GRPO, session, resources, policy, states, iteration)
            artifacts.append(artifact)
    return artifacts


def saved(artifact) -> dict[str, torch.Tensor]:
    return load_file(artifact.folder / "policy" / "model.safetensors")


@pytest.mark.parametrize("lora", [LoraConfig(), LoraConfig(r=2)], ids=["all weights", "adapters"])
def test_an_update_survives_the_next_iteration(
    tmp_path: Path,
    published: ModelConfig,
    loaded: list,
    lora: LoraConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = two_iterations(config(tmp_path, replace(published, lora=lora)))
    weights = saved(first)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert AutoConfig.from_pretrained(first.folder / "policy").dtype == torch.float32
    for name, weight in weights.items():  # the second iteration starts from the first one's to the bit
        assert loaded[1][name].dtype == torch.float32
        assert torch.equal(loaded[1][name], weight), name
    moved = [name for name, weight in weights.items() if not torch.equal(weight, loaded[0][name].float())]
    assert moved
    for name in moved:  # in bfloat16 little of it would be left
        rounded = weights[name].bfloat16().float()
        kept = (rounded != loaded[0][name].float()).sum() / (weights[name] != loaded[0][name].float()).sum()
        assert kept < 0.1, name
    for artifact in (first, second):
        resolved = artifact.summary["update_resolved"]
        assert resolved["dtype"] == "bfloat16"
        assert -0.1 < resolved["share"] < 0.1
    said = [line for line in capsys.readouterr().out.splitlines() if "resolves" in line]
    assert len(said) == 2
    assert said[0].startswith("grpo (iteration 1): the policy samples in bfloat16, which resolves ")
    assert said[0].endswith("of this update; the saved weights hold all of it, and training goes on from "
                            "them; model.dtype=float32 samples all of it")  # fmt: skip


@pytest.mark.usefixtures("loaded")
def test_float32_resolves_everything_and_is_not_measured(tmp_path: Path, capsys) -> None:
    first, _ = two_iterations(config(tmp_path, replace(TINY, dtype="float32")))
    assert "update_resolved" not in first.summary
    assert "which resolves" not in capsys.readouterr().out


def test_throughout_in_bfloat16_all_of_an_update_is_seen(
    tmp_path: Path, published: ModelConfig, loaded: list
) -> None:
    first, _ = two_iterations(config(tmp_path, published, precision="bf16-true"))
    assert {weight.dtype for weight in loaded[1].values()} == {torch.bfloat16}
    assert first.summary["update_resolved"]["share"] == 1.0


@pytest.mark.usefixtures("loaded")
def test_frozen_weights_are_loaded_as_they_are_stored(
    tmp_path: Path, published: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapters leave a bfloat16 checkpoint bfloat16: in float32 it would be twice as large."""
    dtypes: list[set[torch.dtype]] = []

    def spy(model):
        dtypes.append({p.dtype for p in model.parameters() if not p.requires_grad})

    monkeypatch.setattr("tests.stages.test_precision.nudge", spy)
    two_iterations(config(tmp_path, replace(published, dtype="float32", lora=LoraConfig(r=2))))
    assert dtypes == [{torch.bfloat16}, {torch.float32}]  # the published one, and what we saved


@pytest.mark.parametrize("lora", [LoraConfig(), LoraConfig(r=2)], ids=["all weights", "adapters"])
def test_a_value_model_starts_from_the_saved_weights_too(
    tmp_path: Path, published: ModelConfig, monkeypatch: pytest.MonkeyPatch, lora: LoraConfig
) -> None:
    monkeypatch.setattr("restrl.stages.fit.FINAL_RESAMPLES", 20)
    monkeypatch.setattr("restrl.stages.fit.EPOCH_RESAMPLES", 20)
    monkeypatch.setattr("restrl.stages.resolution.weights_dtype", lambda *_: torch.bfloat16)
    dtypes: list[set[torch.dtype]] = []
    start_head = fit.start_head

    def spy(model, *rest):
        dtypes.append({p.dtype for p in model.parameters()})
        return start_head(model, *rest)

    monkeypatch.setattr(fit, "start_head", spy)
    with opened(config(tmp_path, replace(published, lora=lora))) as (session, resources):
        with session.store.open("collect", {}, {}) as work:
            keep(work, collected(sorted(resources.problems("train").by_id)))
        _, artifact = fit_step(session, resources, resources.base, work.artifact)
    assert dtypes == [{torch.float32} if lora.r is None else {torch.float32, torch.bfloat16}]
    assert artifact.summary["update_resolved"]["dtype"] == "bfloat16"
    assert artifact.summary["update_resolved"]["share"] < 0.1
    json.dumps(artifact.summary)


def test_a_run_that_cannot_fit_ends_before_its_first_sample(workplace: Workplace) -> None:
    """What the libraries take is more than there is."""
    refused = workplace.train(
        "trainer.memory_gb=0.3",
        strikes=(never("restrl.stages.resources:load_model"), never("restrl.stages.resources:Sandbox")),
    )
    assert refused.code == 2
    assert refused.err.startswith("error: model=tiny with its ")
    assert (
        "does not fit: training all weights needs 0.46 GiB (framework 0.45), and trainer.memory_gb"
        in refused.err
    )
    assert "says 0.3 GiB; what would fit: a model of about " in refused.err
    assert refused.err.count("\n") == 1
    (folder,) = (workplace.outputs / "artifacts").iterdir()
    assert (folder / "records.jsonl").read_text() == ""


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_both_stages_run_in_every_precision(workplace: Workplace, precision: str) -> None:
    """From the command line: GRPO with adapters, a value model on the trained policy, and their use."""
    done = workplace.train(
        "stage=rest_rl", f"trainer.precision={precision}", "model.dtype=bfloat16", "model.lora.r=2",
        "grpo.iterations=1", "grpo.max_steps=1", "grpo.sample.n=4", "mcts.iterations=3",
        "evaluation.rows=[{policy: trained, decoder: best_of_n, scorer: vm}]",
        "evaluation.completions=2", "vm.epochs=1",
        "vm.heldout_fraction=0.5",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    (fit,) = (workplace.outputs / "artifacts").glob("fit-*")
    assert (fit / "value_model" / "model.safetensors").exists()
