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
from restrl.model.division import DIVISIONS
from restrl.model.geometry import geometry
from restrl.model.memory import check_memory, memory
from restrl.model.peaks import FRAMEWORK, GIB, peaks

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
    model = ModelConfig(name="ds_coder_67b", path=str(folder), checkpointing=True, lora=LoraConfig(r=r))
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
    four = ("parameters", "gradients", "optimizer state")
    assert sum(parts[name] for name in four) == 16 * PARAMETERS
    assert "reference policy" not in parts
    parts = largest(config(seven_b, kl=0.04)).parts
    assert parts["reference policy"] == 4 * PARAMETERS
    half = config(seven_b, trainer=TrainerConfig(precision="bf16-true"))
    assert sum(largest(half).parts[name] for name in four) == 8 * PARAMETERS


def test_adapters_take_the_stored_weights_and_little_more(seven_b: Path) -> None:
    adapters = 16 * 32 * (4 * 8192 + 3 * 15104)
    peak = largest(config(seven_b, r=16, kl=0.04))
    assert peak.parts["parameters"] == 2 * PARAMETERS + 4 * adapters
    assert "reference policy" not in peak.parts  # it is the model with its adapters off
    # the second iteration starts from merged weights, which are saved in float32
    later = config(seven_b, r=16)
    later.grpo.iterations = 2
    assert largest(later).parts["parameters"] == 4 * PARAMETERS + 4 * adapters


def test_keys_and_values_are_those_of_the_rows(seven_b: Path) -> None:
    """64 rows x (256 + 1524) tokens x half a MiB are 60 GB, and engine.kv_gb bounds them."""
    sizes = geometry(config(seven_b).model, PathsConfig())
    assert sizes is not None
    wide = config(seven_b, engine=EngineConfig(kv_gb=1000))
    (peak,) = peaks(wide, sizes, (), GPU)
    assert peak.parts == {
        "parameters": 2 * PARAMETERS,
        "keys and values": 64 * (256 + 1524) * 2**19,
        "logits": 64 * 32256 * 4 * 2,  # float32, and their exponentials
        "framework": FRAMEWORK["cuda"],
    }
    (peak,) = peaks(config(seven_b), sizes, (), GPU)
    assert peak.parts["keys and values"] == 8 * GIB
    assert peaks(wide, sizes, (), CPU)[0].parts["parameters"] == 4 * PARAMETERS


def test_an_engine_s_copy_of_the_weights_counts_where_it_stays(seven_b: Path) -> None:
    """Two bytes a weight beside the training: on a GPU until the engine sleeps, on a CPU all the time."""
    run = config(seven_b, engine=EngineConfig(name="vllm", kv_gb=4))
    sizes = geometry(run.model, run.paths)
    assert sizes is not None
    for device, item, both in ((GPU, 2, False), (torch.device("cpu"), 4, True)):
        _, rollouts, learning = peaks(run, sizes, ("grpo",), device)
        assert rollouts.parts["engine weights"] == item * sizes.parameters
        assert ("engine weights" in learning.parts) == both
    run.engine.tensor_parallel = 2
    assert peaks(run, sizes, ("grpo",), GPU)[1].parts["engine weights"] == sizes.parameters


def test_a_value_model_has_no_output_matrix_and_may_be_cut_and_frozen(seven_b: Path) -> None:
    each = (PARAMETERS - 2 * MATRIX) / 32
    whole = largest(config(seven_b), ("fit",)).parts
    assert whole["gradients"] == pytest.approx(4 * (PARAMETERS - MATRIX))
    cut = largest(config(seven_b, vm=VmConfig(layers=20, freeze_layers=12)), ("fit",)).parts
    assert cut["parameters"] == pytest.approx(4 * (MATRIX + 20 * each))
    assert cut["gradients"] == pytest.approx(4 * 8 * each)


def refusal(config: Config, trains: tuple[str, ...] = ("grpo",), device: torch.device = GPU) -> str:
    with pytest.raises(UserError) as error:
        check_memory(config, PathsConfig(), trains, device)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_line_names_what_it_needs_and_what_would_fit(seven_b: Path) -> None:
    # 4 x 6.74e9 / 2^30 = 25.1; 20 bytes a weight are 125.5 GiB, bfloat16 copies of all but the embedding are
    # 12.3; the rest: activations, logits and the framework
    assert refusal(config(seven_b, kl=0.04)) == (
        "model=ds_coder_67b with its 6.74 billion weights does not fit: training all weights needs 141.7 GiB "
        "(parameters 25.1, optimizer state 50.2, bfloat16 copies 12.3, reference policy 25.1, gradients "
        "25.1), and trainer.memory_gb says 79.0 GiB; what would fit: model.lora.r=16 or "
        "trainer.precision=bf16-true or trainer.strategy=deepspeed_zero3_offload (trainer.memory_gb "
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
    assert "sampling needs 21.2 GiB (parameters 12.6, keys and values 8.0, framework 0.6)" in line
    assert "what would fit: engine.kv_gb=1.0 (" in line


def test_a_smaller_model_is_the_last_way(seven_b: Path) -> None:
    line = refusal(config(seven_b, gib=8), trains=())
    # 6.74 billion x 8 / 21.16
    assert "what would fit: a model of about 2.55 billion weights (" in line


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


def learning(config: Config, what: str = "grpo") -> Any:
    """The peak of a step's update."""
    sizes = geometry(config.model, PathsConfig())
    assert sizes is not None
    return peaks(config, sizes, (what,), GPU)[-1]


@pytest.mark.parametrize(
    ("strategy", "each"),  # bytes a weight of parameters, gradients and optimizer state on each of 8 GPUs
    [
        ("auto", (4, 4, 8)),
        ("ddp", (4, 4, 8)),
        ("fsdp2", (4 / 8, 4 / 8, 8 / 8)),
        # DeepSpeed computes with bfloat16 weights; its optimizer has float32 copies of them
        ("deepspeed_zero2", (2, 2 / 8, 12 / 8)),
        ("deepspeed_zero3", (2 / 8, 2 / 8, 12 / 8)),
    ],
)
def test_strategies_divide_what_they_say(seven_b: Path, strategy: str, each: tuple[float, ...]) -> None:
    trainer = TrainerConfig(devices=4, num_nodes=2, strategy=strategy, memory_gb=80)
    for what, weights in (("grpo", PARAMETERS), ("fit", PARAMETERS - MATRIX)):
        parts = learning(config(seven_b, trainer=trainer), what).parts
        found = [parts[name] / weights for name in ("parameters", "gradients", "optimizer state")]
        assert found == pytest.approx(each)


def test_offload_moves_the_weights_and_the_optimizer_to_the_machine(
    seven_b: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(seven_b, trainer=TrainerConfig(strategy="deepspeed_zero3_offload", devices=2))
    peak = learning(run)
    assert sum(peak.host.values()) == (2 + 2 + 12) * PARAMETERS / 2
    assert not {"parameters", "gradients", "optimizer state"} & peak.parts.keys()
    properties = dataclasses.make_dataclass("Properties", ["total_memory"])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties(80 * GIB))
    monkeypatch.setattr(module, "machine_memory", lambda _: 20 * GIB)
    assert "needs 50.2 GiB of the machine's memory for each GPU: it has 20.0;" in refusal(run)
    monkeypatch.setattr(module, "machine_memory", lambda _: 64 * GIB)
    check_memory(run, PathsConfig(), ("grpo",), GPU)


def test_every_strategy_is_in_the_table() -> None:
    field = next(item for item in dataclasses.fields(TrainerConfig) if item.name == "strategy")
    assert set(field.metadata["choices"]) <= DIVISIONS.keys()


def test_checkpointing_keeps_the_inputs_of_layers_and_one_layer(seven_b: Path) -> None:
    """Float32: 12 bytes a number of the norms' hidden size, 4 of the others, 4096 tokens."""
    run = config(seven_b, trainer=TrainerConfig(precision="32-true", memory_gb=79))
    layer = 2 * 12 * 4096 + 4 * (2 * 4096 + 2 * 4096 + 4 * 11008)
    assert learning(run).parts["activations"] == 4096 * (layer + 31 * 4 * 4096)
    run.model.checkpointing = False
    assert learning(run).parts["activations"] == 4096 * 32 * layer
