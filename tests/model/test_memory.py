"""The estimate of memory, with numbers that a reader can derive by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from restrl.config import (
    Config,
    EngineConfig,
    GrpoConfig,
    LoraConfig,
    ModelConfig,
    ObjectiveConfig,
    PathsConfig,
    SamplingConfig,
    TrainerConfig,
    VmConfig,
)
from restrl.errors import UserError
from restrl.model import memory as module
from restrl.model.memory import GIB, check_memory, geometry, memory, peaks
from restrl.model.shares import Shares
from restrl.ranks import Ranks
from restrl.train.strategy import build_strategy

GPU, CPU = torch.device("cuda"), torch.device("cpu")
# DeepSeek-Coder-6.7B: vocabulary 32256, 32 layers, hidden 4096, intermediate 11008
BLOCK = 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096  # attention, MLP, two norms
MATRIX = 32256 * 4096  # input and output matrix, not tied
PARAMETERS = 2 * MATRIX + 32 * BLOCK + 4096


@pytest.fixture(autouse=True)
def a_gpu_with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)


@pytest.fixture(scope="module")
def seven_b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configuration alone: the estimate needs no weights."""
    folder = tmp_path_factory.mktemp("seven_b")
    LlamaConfig(
        vocab_size=32256, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, tie_word_embeddings=False, dtype=torch.bfloat16,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def config(folder: Path, r: int | None = None, gib: float = 79.0, kl: float = 0.0, **changes: Any) -> Config:
    model = ModelConfig(
        name="ds_coder_67b", path=str(folder), gradient_checkpointing=True, lora=LoraConfig(r=r)
    )
    grpo = GrpoConfig(
        objective=ObjectiveConfig(kl=kl), sample=SamplingConfig(n=5, max_tokens=1524), iterations=1
    )
    settings = {"model": model, "grpo": grpo, "trainer": TrainerConfig(memory_gb=gib)}
    return Config(**(settings | changes))


def largest(config: Config, trains: tuple[str, ...] = ("grpo",), device: torch.device = GPU) -> Any:
    sizes = geometry(config.model, PathsConfig())
    assert sizes is not None
    return max(peaks(config, sizes, trains, device), key=lambda peak: peak.total)


def test_sizes_by_hand(seven_b: Path) -> None:
    sizes = geometry(config(seven_b).model, PathsConfig())
    assert sizes is not None
    assert sizes.parameters == PARAMETERS == pytest.approx(6.74e9, rel=1e-3)
    assert (sizes.embedding, sizes.head) == (MATRIX, MATRIX)
    # adapters: four square matrices and three between 4096 and 11008, in and out, in each layer
    assert sizes.per_rank == 32 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
    assert sizes.kv_per_token == 2 * 32 * 32 * 128
    assert sizes.stored_bytes == 2


def test_all_weights_take_16_bytes_each(seven_b: Path) -> None:
    """Weights, gradients and two moments in float32; a reference takes 4 more, bfloat16 throughout half."""
    parts = largest(config(seven_b)).parts
    four = ("weights", "gradients", "Adam's moments")
    assert sum(parts[name] for name in four) == 16 * PARAMETERS
    assert "the reference" not in parts
    parts = largest(config(seven_b, kl=0.04)).parts
    assert parts["the reference"] == 4 * PARAMETERS
    half = config(seven_b, trainer=TrainerConfig(precision="bf16-true"))
    assert sum(largest(half).parts[name] for name in four) == 8 * PARAMETERS


def test_adapters_take_the_stored_weights_and_little_more(seven_b: Path) -> None:
    adapters = 16 * 32 * (4 * 8192 + 3 * 15104)
    peak = largest(config(seven_b, r=16, kl=0.04))
    assert peak.parts["weights"] == 2 * PARAMETERS + 4 * adapters
    assert "the reference" not in peak.parts  # it is the model with its adapters off
    # the second iteration starts from merged weights, which are saved in float32
    later = config(seven_b, r=16)
    later.grpo.iterations = 2
    assert largest(later).parts["weights"] == 4 * PARAMETERS + 4 * adapters


def test_keys_and_values_are_those_of_the_rows(seven_b: Path) -> None:
    """64 rows x 1524 tokens x half a MiB are 51 GB, and engine.kv_gb bounds them."""
    sizes = geometry(config(seven_b).model, PathsConfig())
    assert sizes is not None
    wide = config(seven_b, engine=EngineConfig(kv_gb=1000))
    (peak,) = peaks(wide, sizes, (), GPU)
    assert peak.parts == {"weights": 2 * PARAMETERS, "keys and values": 64 * 1524 * 2**19}
    (peak,) = peaks(config(seven_b), sizes, (), GPU)
    assert peak.parts["keys and values"] == 8 * GIB
    assert peaks(wide, sizes, (), CPU)[0].parts["weights"] == 4 * PARAMETERS


def test_an_engine_s_copy_of_the_weights_counts_where_it_stays(seven_b: Path) -> None:
    """Two bytes a weight beside the training: on a GPU until the engine sleeps, on a CPU all the time."""
    run = config(seven_b, engine=EngineConfig(name="vllm", kv_gb=4))
    sizes = geometry(run.model, run.paths)
    assert sizes is not None
    for device, item, both in ((GPU, 2, False), (torch.device("cpu"), 4, True)):
        _, rollouts, learning = peaks(run, sizes, ("grpo",), device)
        assert rollouts.parts["the engine's weights"] == item * sizes.parameters
        assert ("the engine's weights" in learning.parts) == both
    run.engine.tensor_parallel = 2
    assert peaks(run, sizes, ("grpo",), GPU)[1].parts["the engine's weights"] == sizes.parameters


def test_a_value_model_has_no_output_matrix_and_may_be_cut_and_frozen(seven_b: Path) -> None:
    each = (PARAMETERS - 2 * MATRIX) / 32
    whole = largest(config(seven_b), ("fit",)).parts
    assert whole["gradients"] == pytest.approx(4 * (PARAMETERS - MATRIX))
    cut = largest(config(seven_b, vm=VmConfig(layers=20, freeze_layers=12)), ("fit",)).parts
    assert cut["weights"] == pytest.approx(4 * (MATRIX + 20 * each))
    assert cut["gradients"] == pytest.approx(4 * 8 * each)


def refusal(config: Config, trains: tuple[str, ...] = ("grpo",), device: torch.device = GPU) -> str:
    with pytest.raises(UserError) as error:
        check_memory(config, PathsConfig(), trains, device)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_line_names_what_it_needs_and_what_would_fit(seven_b: Path) -> None:
    # 4 x 6.74e9 / 2^30 = 25.1; 20 bytes a weight are 125.5 GiB, and half a GiB of activations and logits
    assert refusal(config(seven_b, kl=0.04)) == (
        "model=ds_coder_67b with its 6.74 billion weights does not fit: training all weights needs 126.0 GiB "
        "(weights 25.1, Adam's moments 50.2, the reference 25.1, gradients 25.1), and trainer.memory_gb says "
        "79.0 GiB; what would fit: model.lora.r=16 or trainer.precision=bf16-true (trainer.memory_gb "
        "overrules the machine's own number)"
    )


def test_what_fits_is_not_refused(seven_b: Path) -> None:
    check_memory(config(seven_b, r=16), PathsConfig(), ("grpo", "fit"), GPU)
    check_memory(config(seven_b, gib=24), PathsConfig(), (), GPU)  # 12.6 GiB and 8 of keys and values


def test_samples_of_a_server_take_no_memory_here(seven_b: Path) -> None:
    remote = config(seven_b, gib=1, engine=EngineConfig(name="openai"))
    check_memory(remote, PathsConfig(), (), GPU)
    with pytest.raises(UserError, match="does not fit: fitting the value model needs"):
        check_memory(remote, PathsConfig(), ("fit",), GPU)


def test_changes_that_only_fit_together_are_named_together(seven_b: Path) -> None:
    # with adapters the weights take 12.6 GiB, which leaves no room for 8 GiB of keys and values
    line = refusal(config(seven_b, gib=16, kl=0.04))
    assert "what would fit: model.lora.r=16 engine.kv_gb=1.0 (" in line
    line = refusal(config(seven_b, gib=16), trains=())
    assert "sampling needs 20.6 GiB (weights 12.6, keys and values 8.0)" in line
    assert "what would fit: engine.kv_gb=1.0 (" in line


def test_a_smaller_model_is_the_last_way(seven_b: Path) -> None:
    line = refusal(config(seven_b, gib=8), trains=())
    # 6.74 billion x 8 / 20.6 = 2.6, said with one digit
    assert "what would fit: a model of about 3 billion weights (" in line


def test_a_model_that_cannot_be_found_is_not_refused_here(tmp_path: Path) -> None:
    check_memory(config(tmp_path / "none", gib=1e-9), PathsConfig(), ("grpo",), GPU)
    assert geometry(ModelConfig(path=str(tmp_path)), PathsConfig()) is None


def test_memory_is_the_machines_or_the_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(module, "CGROUP_LIMITS", (str(limit),))
    config = Config()
    where, whole = memory(config, CPU)
    assert (where, whole > GIB) == ("this machine has", True)
    limit.write_text("max\n")
    assert memory(config, CPU)[1] == whole
    limit.write_text(f"{2**29}\n")
    assert memory(config, CPU)[1] == 2**29
    properties = dataclasses.make_dataclass("Properties", ["total_memory"])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties(80 * 10**9))
    assert memory(config, GPU) == ("the GPU has", 80e9)
    config.trainer.devices = 2  # processes, which share it
    assert memory(config, CPU) == ("each of this machine's 2 processes has", 2**28)


def test_a_divided_model(seven_b: Path) -> None:
    """On one of eight GPUs: 7B with all weights trained needs 16 bytes each, which one GPU has not."""
    run = config(seven_b)
    with pytest.raises(UserError, match="does not fit"):
        check_memory(run, PathsConfig(), ("grpo",), GPU)
    zero3 = Shares(1.5 / 8, 1 / 8, 1 / 8, 1 / 8, gathered=0.5)  # bfloat16 weights beside float32 ones
    check_memory(run, PathsConfig(), ("grpo",), GPU, zero3)
    sizes = geometry(run.model, PathsConfig())
    assert sizes is not None
    _, rollouts, learning = peaks(run, sizes, ("grpo",), GPU, zero3)
    assert rollouts.parts["weights"] == (2 + 4) * PARAMETERS / 8
    assert rollouts.parts["gathered weights"] == 2 * PARAMETERS
    assert learning.parts["weights"] + learning.parts["gradients"] == (2 + 4 + 4) * PARAMETERS / 8
    assert learning.parts["Adam's moments"] == 8 * PARAMETERS / 8


@pytest.mark.parametrize(
    ("name", "held"),
    [("ddp", 4.0), ("fsdp2", 4 / 8), ("deepspeed_zero2", 2 + 4 / 8), ("deepspeed_zero3", 6 / 8)],
)
def test_what_a_strategy_holds(name: str, held: float) -> None:
    """Bytes per weight of one of eight ranks, with float32 weights and bfloat16 products."""
    trainer = TrainerConfig(accelerator="cpu", devices=8, strategy=name, precision="bf16-mixed")
    assert build_strategy(trainer, Ranks(0, 8, 0)).shares().weights * 4 == held
