"""Estimates a run's memory from the model's configuration, before any weight is loaded.

The estimate is a lower bound of the peaks, in bytes: weights, gradients, Adam's moments, the reference, keys
and values of the decoded rows, and the activations of one completion.  It does not count temporary buffers,
fragmentation and the framework itself.  So a run that passes may still run out of memory, but a run that is
refused certainly would.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from restrl.config import Config, LoraConfig, ModelConfig, PathsConfig, SamplingConfig
from restrl.engine.registry import ENGINES
from restrl.errors import UserError
from restrl.model.load import weights_dtype
from restrl.model.shares import WHOLE, Shares
from restrl.model.source import load_pretrained
from restrl.model.tiny import tiny_model

GIB = 2**30
CHANGES: tuple[tuple[str, Any], ...] = (  # changes that save memory, the least harmful first
    ("model.lora.r", 16),
    ("grpo.objective.kl", 0.0),
    ("engine.kv_gb", 1.0),
    ("model.gradient_checkpointing", True),
    ("grpo.tokens_per_microbatch", 512),
    ("model.dtype", "bfloat16"),
    ("trainer.precision", "bf16-true"),
)
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Geometry:
    """The sizes of a causal LM, in numbers (not bytes)."""

    parameters: int
    embedding: int  # parameters of the input matrix
    head: int  # parameters of the output matrix; 0 if it is tied to the input matrix
    per_rank: int  # parameters of adapters per unit of their rank
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    kv_per_token: int  # numbers in the keys and values of all layers
    stored_bytes: int  # bytes of a weight in the file


@dataclass(frozen=True)
class Peak:
    """A phase of a run with high memory use."""

    what: str
    parts: dict[str, float]  # content -> bytes

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def geometry(config: ModelConfig, paths: PathsConfig) -> Geometry | None:
    """The model's sizes, without its weights; None if they are unknown: loading will report the error."""
    try:
        settings = (
            tiny_model().config
            if config.source == "random" and config.path is None
            else load_pretrained(AutoConfig, config, paths)
        )
        with torch.device("meta"):
            auto: Any = AutoModelForCausalLM
            model = auto.from_config(settings, trust_remote_code=config.trust_remote_code)
    except (UserError, ValueError, RuntimeError, NotImplementedError, ImportError, AttributeError):
        return None
    return _measured(model, settings.get_text_config(), config.lora)


def _measured(model: Any, settings: Any, lora: LoraConfig) -> Geometry:
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not outputs}
    if lora.target_modules != "all-linear":
        linear = {n: m for n, m in linear.items() if re.fullmatch(lora.target_modules, n)}
    tied = outputs is None or outputs.weight is inputs.weight
    heads = getattr(settings, "num_attention_heads", 0)
    head_dim = getattr(settings, "head_dim", None) or settings.hidden_size // max(heads, 1)
    kv_heads = getattr(settings, "num_key_value_heads", None) or heads
    stored = getattr(settings, "dtype", None)
    return Geometry(
        parameters=sum(p.numel() for p in model.parameters()),
        embedding=inputs.weight.numel(),
        head=0 if tied else outputs.weight.numel(),
        per_rank=sum(m.in_features + m.out_features for m in linear.values()),
        layers=settings.num_hidden_layers,
        hidden=settings.hidden_size,
        intermediate=getattr(settings, "intermediate_size", None) or settings.hidden_size,
        vocabulary=settings.vocab_size,
        kv_per_token=2 * settings.num_hidden_layers * kv_heads * head_dim,
        stored_bytes=stored.itemsize if isinstance(stored, torch.dtype) else 4,
    )


# --- the peaks of a run


def peaks(
    config: Config, sizes: Geometry, trains: Iterable[str], device: torch.device, shares: Shares = WHOLE
) -> list[Peak]:
    """The peaks of a run that samples and then ``trains`` (grpo, fit), on each device."""
    remote = config.engine.name == "openai"  # the samples come from the memory of another machine
    phases = [Peak("sampling", {})] if remote else [_sampling(config, sizes, device)]
    if "grpo" in trains:
        phases += _grpo(config, sizes, device, shares)
    if "fit" in trains:
        phases.append(_fit(config, sizes, device, shares, after_grpo="grpo" in trains))
    return phases


def _precision(config: Config, device: torch.device) -> tuple[int, int]:
    """Bytes of a trained weight, and of a number computed with it."""
    precision = config.trainer.precision
    if precision == "auto":
        precision = "bf16-mixed" if device.type == "cuda" else "32-true"
    return {"32-true": (4, 4), "bf16-mixed": (4, 2), "bf16-true": (2, 2)}[precision]


def _sampling(config: Config, sizes: Geometry, device: torch.device) -> Peak:
    item = weights_dtype(config.model, device).itemsize
    if _engine_weights(config) == "none":
        return Peak("sampling", {})
    parts = {"weights": float(sizes.parameters * item)}
    return Peak("sampling", parts | _rows(config, sizes, config.grpo.sample, item))


def _engine_weights(config: Config) -> str:
    """What the engine samples with: module, copy or none (see ``restrl.engine.registry``)."""
    return ENGINES[config.engine.name].weights


def _rows(config: Config, sizes: Geometry, sampling: SamplingConfig, item: int) -> dict[str, float]:
    """Keys and values: every row has room for as many tokens as the longest one."""
    rows = min(config.engine.batch_size, sampling.n * config.engine.chunk_problems)
    size = rows * sampling.max_tokens * sizes.kv_per_token * item
    return {"keys and values": min(size, config.engine.kv_gb * GIB)}


def _engine(config: Config, sizes: Geometry, device: torch.device, compute: int) -> dict[str, float]:
    """What an engine holds while it samples rollouts, besides the weights in training."""
    kind, rollout = _engine_weights(config), config.grpo.rollout
    if kind == "none":
        return {}
    if kind == "module":
        return _rows(config, sizes, rollout, compute)
    item = weights_dtype(config.model, device).itemsize
    copy = sizes.parameters * item / config.engine.tensor_parallel
    return {"the engine's weights": copy, **_rows(config, sizes, rollout, item)}


def _grpo(config: Config, sizes: Geometry, device: torch.device, shares: Shares) -> list[Peak]:
    """Two peaks of a step: sampling, without gradients, and learning, without keys and values.

    An engine with a copy of the weights sleeps while a GPU learns; on a CPU it keeps what it has.
    """
    grpo, (weight, compute) = config.grpo, _precision(config, device)
    lora = config.model.lora.r
    parts = _trained(config, sizes.parameters, 0, sizes, device, shares, later=grpo.iterations > 1)
    if grpo.objective.kl > 0 and lora is None:
        parts["the reference"] = sizes.parameters * weight * shares.reference
    gradients = parts.pop("gradients")
    tokens = min(grpo.tokens_per_microbatch, grpo.rollout.max_tokens)
    learning = {
        "gradients": gradients,
        "activations": _activations(config, sizes, sizes.layers, tokens, compute),
        "logits": 2.0 * min(grpo.logit_chunk, tokens) * sizes.vocabulary * 4,
    }
    what = "training " + ("all weights" if lora is None else f"adapters of rank {lora}")
    engine = _engine(config, sizes, device, compute)
    if _engine_weights(config) == "copy" and device.type != "cuda":
        learning |= engine
    if _engine_weights(config) == "module" and shares.gathered:
        engine["gathered weights"] = sizes.parameters * weight * shares.gathered
    return [Peak(f"{what} (rollouts)", parts | engine), Peak(what, parts | learning)]


def _fit(config: Config, sizes: Geometry, device: torch.device, shares: Shares, after_grpo: bool) -> Peak:
    vm, (_, compute) = config.vm, _precision(config, device)
    layers = min(vm.layers or sizes.layers, sizes.layers)
    each = (sizes.parameters - sizes.embedding - sizes.head) / sizes.layers
    frozen = sizes.embedding + each * min(vm.freeze_layers, layers) if vm.freeze_layers else 0.0
    whole = sizes.embedding + each * layers
    parts = _trained(config, whole, frozen, sizes, device, shares, later=after_grpo)
    tokens = min(vm.tokens_per_microbatch, config.dataset.max_tokens)
    parts["activations"] = _activations(config, sizes, layers - vm.freeze_layers, tokens, compute)
    return Peak("fitting the value model", parts)


def _trained(
    config: Config,
    weights: float,
    frozen: float,
    sizes: Geometry,
    device: torch.device,
    shares: Shares,
    later: bool,
) -> dict[str, float]:
    """A device's part of ``weights`` weights, ``frozen`` of them not trained, and of their state in training.

    ``later``: the policy was saved by a training, so its weights are stored in float32.
    """
    item, r = _precision(config, device)[0], config.model.lora.r
    if r is None:
        return {
            "weights": weights * item * shares.weights,
            "gradients": (weights - frozen) * item * shares.gradients,
            "Adam's moments": 2 * (weights - frozen) * item * shares.moments,
        }
    adapters = float(r * sizes.per_rank)
    stored = item if item == 2 else 4 if later else sizes.stored_bytes
    return {
        "weights": (weights * stored + adapters * item) * shares.weights,
        "gradients": adapters * item * shares.gradients,
        "Adam's moments": 2 * adapters * item * shares.moments,
    }


def _activations(config: Config, sizes: Geometry, layers: int, tokens: int, item: int) -> float:
    """Activations that the backward pass of ``tokens`` tokens needs.

    Per layer these are the inputs of products and norms: six times the hidden size plus four times the
    intermediate size.  With gradient checkpointing they exist for one layer, plus the inputs of the others.
    """
    inner = tokens * (6 * sizes.hidden + 4 * sizes.intermediate) * item
    if config.model.gradient_checkpointing:
        return float(inner + max(layers - 1, 0) * tokens * sizes.hidden * item)
    return float(max(layers, 0) * inner)


# --- what fits


def check_memory(
    config: Config, paths: PathsConfig, trains: Iterable[str], device: torch.device, shares: Shares = WHOLE
) -> None:
    """Raises UserError for a run that cannot fit; the message lists the memory needs and possible changes."""
    sizes = geometry(config.model, paths)
    if sizes is None:
        return
    where, available = memory(config, device)
    trains = tuple(trains)
    peak = _largest(config, sizes, trains, device, shares)
    if peak.total <= available:
        return
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in peak.parts.items() if size > peak.total / 50)
    ways = _ways(config, sizes, trains, device, available, shares)
    smaller = f"a model of about {sizes.parameters * available / peak.total / 1e9:.1g} billion weights"
    raise UserError(
        f"model={config.model.name} with its {sizes.parameters / 1e9:.3g} billion weights does not fit: "
        f"{peak.what} needs {_gib(peak.total)} GiB ({parts}), and {where} {_gib(available)} GiB; what would "
        f"fit: {' or '.join(ways) or smaller} (trainer.memory_gb overrules the machine's own number)"
    )


def memory(config: Config, device: torch.device) -> tuple[str, float]:
    """Whose memory is available, in words, and its bytes: the GPU's, or this process's part of the machine's.

    The machine may be a container; its ``trainer.devices`` processes share it.
    """
    if config.trainer.memory_gb is not None:
        return "trainer.memory_gb says", config.trainer.memory_gb * GIB
    if device.type == "cuda":
        return "the GPU has", float(torch.cuda.get_device_properties(device).total_memory)
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUP_LIMITS:
        if Path(path).exists() and (text := Path(path).read_text().strip()).isdigit():
            limits.append(int(text))
    processes = config.trainer.devices
    where = "this machine has" if processes == 1 else f"each of this machine's {processes} processes has"
    return where, min(limits) / processes


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}" if size >= GIB else f"{size / GIB:.2g}"


def _largest(
    config: Config, sizes: Geometry, trains: Iterable[str], device: torch.device, shares: Shares
) -> Peak:
    return max(peaks(config, sizes, trains, device, shares), key=lambda peak: peak.total)


def _ways(
    config: Config,
    sizes: Geometry,
    trains: Iterable[str],
    device: torch.device,
    available: float,
    shares: Shares,
) -> list[str]:
    """Changes of the configuration that each make the run fit, or else one combination that does."""

    def largest(changed: Config) -> float:
        return _largest(changed, sizes, trains, device, shares).total

    changes = [(key, value) for key, value in CHANGES if _saves(config, key, value, trains)]
    fits = [f"{key}={value}" for key, value in changes if largest(_changed(config, key, value)) <= available]
    together: list[str] = []
    for key, value in changes if not fits else []:
        changed = _changed(config, key, value)
        if largest(changed) < largest(config):
            config = changed
            together.append(f"{key}={value}")
            if largest(config) <= available:
                return [" ".join(together)]
    return fits[:3]


def _saves(config: Config, key: str, value: Any, trains: Iterable[str]) -> bool:
    """Whether the change has an effect, on a step that the run includes."""
    before = reduce(getattr, key.split("."), config)
    if key in ("model.lora.r", "model.gradient_checkpointing", "trainer.precision"):
        return bool(trains) and before != value and not (key == "model.lora.r" and before is not None)
    if key.startswith("grpo."):
        return "grpo" in trains and before > value
    return bool(before > value) if key == "engine.kv_gb" else bool(before != value)


def _changed(node: Any, key: str, value: Any) -> Any:
    """A copy of ``node`` with the dotted ``key`` set to ``value``."""
    name, _, rest = key.partition(".")
    return dataclasses.replace(node, **{name: _changed(getattr(node, name), rest, value) if rest else value})
