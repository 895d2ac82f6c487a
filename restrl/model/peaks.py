"""The peaks of a run's memory on one device, in bytes by content, from the model's sizes and the settings.

Counted is what has to be there at the same time: weights, gradients, Adam's moments, the reference, what an
engine holds, the activations that a full micro-batch keeps for its backward pass, and the rows of logits.
Layers are counted as those of Llama and Qwen2.  What is not known before data is read is assumed: prompts of
``PROMPT_TOKENS``, completions as long as they may be, and micro-batches that are full.  Not counted:
fragmentation, short-lived results inside a layer, and the processes of the sandbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from restrl.config import Config, LearningConfig, SamplingConfig
from restrl.engine.registry import ENGINES
from restrl.model.division import DIVISIONS, Division
from restrl.model.geometry import Geometry
from restrl.model.load import weights_dtype

GIB = 2**30
OF_THE_POLICY = ("grpo", "dpo", "sft")  # kinds of training that a run may include, besides fit
PROMPT_TOKENS = 256
FRAMEWORK = {"cpu": 0.45 * GIB, "cuda": 0.6 * GIB}  # libraries; on a GPU the context and kernels
CONTENTS = (
    "parameters", "bfloat16 copies", "gathered weights", "gradients", "gradients on their way",
    "optimizer state", "reference policy",
    "engine weights", "scorer", "keys and values", "activations", "logits", "framework",
)  # fmt: skip


@dataclass(frozen=True)
class Peak:
    """A phase of a run with high memory use."""

    what: str
    parts: dict[str, float]  # content (of CONTENTS) -> bytes on the device
    host: dict[str, float] = field(default_factory=dict)  # in the machine's memory, beside a GPU

    @property
    def total(self) -> float:
        return sum(self.parts.values())


class Bytes(NamedTuple):
    """Of a trained weight, of a number computed with it, and of a frozen weight under adapters."""

    weight: int
    product: int
    frozen: int


@dataclass(frozen=True)
class Run:
    """A run on one device."""

    config: Config
    sizes: Geometry
    device: torch.device

    @property
    def division(self) -> Division:
        return DIVISIONS.get(self.config.trainer.strategy, DIVISIONS["ddp"])

    @property
    def ranks(self) -> int:
        return self.config.trainer.devices * self.config.trainer.num_nodes

    @property
    def adapters(self) -> int:
        """Parameters of the adapters; 0 without them."""
        return (self.config.model.lora.r or 0) * self.sizes.per_rank

    @property
    def sampling_bytes(self) -> int:
        """Bytes of a weight that an engine loads."""
        if self.config.model.dtype == "auto" and self.device.type == "cuda" and not torch.cuda.is_available():
            return 2  # as on most GPUs: this one is not here
        return weights_dtype(self.config.model, self.device).itemsize

    def bytes(self, later: bool) -> Bytes:
        """``later``: the policy was saved by a training, so its weights are stored in float32."""
        precision = self.config.trainer.precision
        if precision == "auto":
            precision = "bf16-mixed" if self.device.type == "cuda" else "32-true"
        weight, product = {"32-true": (4, 4), "bf16-mixed": (4, 2), "bf16-true": (2, 2)}[precision]
        return Bytes(weight, product, 2 if weight == 2 else 4 if later else self.sizes.stored_bytes)


def peaks(config: Config, sizes: Geometry, trains: Iterable[str], device: torch.device) -> list[Peak]:
    """The peaks of a run that samples and then ``trains`` (of ``OF_THE_POLICY`` and fit)."""
    run = Run(config, sizes, device)
    phases = [_sampling(run)]
    if "grpo" in trains:
        phases += _grpo(run)
    for kind, reference in (("dpo", True), ("sft", False)):
        if kind in trains:
            phases.append(_on_completions(run, getattr(config, kind), reference))
    if "fit" in trains:
        phases.append(_fit(run, after_training=any(kind in trains for kind in OF_THE_POLICY)))
    return [with_framework(phase, device) for phase in phases]


def with_framework(peak: Peak, device: torch.device) -> Peak:
    """The peak with what the libraries take."""
    framework = {"framework": FRAMEWORK["cuda" if device.type == "cuda" else "cpu"]}
    return Peak(peak.what, peak.parts | framework, peak.host)


def _sampling(run: Run) -> Peak:
    kind = ENGINES[run.config.engine.name].weights
    if kind == "none":  # the samples come from the memory of another machine
        return Peak("sampling", {})
    divisor = run.config.engine.tensor_parallel if kind == "copy" else 1
    parts = {"parameters": run.sizes.parameters * run.sampling_bytes / divisor}
    prompts = run.config.engine.chunk_problems
    return Peak("sampling", parts | engine_rows(run, run.config.grpo.sample, prompts, run.sampling_bytes))


def engine_rows(run: Run, sampling: SamplingConfig, prompts: int, item: int) -> dict[str, float]:
    """Keys and values: every row has room for as many tokens as the longest one; and logits in float32.

    ``prompts``: how many are sampled from at the same time.  ``item``: bytes of a number.
    """
    engine = run.config.engine
    each = (PROMPT_TOKENS + sampling.max_tokens) * run.sizes.kv_per_token * item
    rows = min(engine.batch_size, sampling.n * prompts)
    held = min(rows * each, engine.kv_gb * GIB)
    return {"keys and values": held, "logits": min(rows, held / each) * run.sizes.vocabulary * 4 * 2}


def _engine(run: Run, product: int) -> dict[str, float]:
    """What an engine holds while it samples rollouts, besides the weights in training."""
    config, weights = run.config, run.sizes.parameters
    kind = ENGINES[config.engine.name].weights
    if kind == "none":
        return {}
    if kind == "module":
        whole = {}
        if run.division.parameters and run.ranks > 1:  # gathered, since each rank samples on its own
            item = run.bytes(False).product if run.division.master else run.bytes(False).weight
            whole = {"engine weights": float(weights * item)}
        return whole | engine_rows(run, config.grpo.rollout, config.engine.chunk_problems, product)
    copy = weights * run.sampling_bytes / config.engine.tensor_parallel
    rows = engine_rows(run, config.grpo.rollout, config.engine.chunk_problems, run.sampling_bytes)
    return {"engine weights": copy, **rows}


def _grpo(run: Run) -> list[Peak]:
    """Two peaks of a step: sampling, without gradients, and learning, without keys and values.

    An engine with a copy of the weights sleeps while a GPU learns; on a CPU it keeps what it has.
    """
    config, grpo = run.config, run.config.grpo
    group = PROMPT_TOKENS + grpo.rollout.n * grpo.rollout.max_tokens
    tokens = min(grpo.tokens_per_microbatch, grpo.prompts_per_step * group)
    what, held, learning, host = _policy_training(run, tokens, grpo.logit_chunk, grpo.objective.kl > 0)
    engine = _engine(run, run.bytes(later=grpo.iterations > 1).product)
    if ENGINES[config.engine.name].weights == "copy" and run.device.type != "cuda":
        learning = learning | {key: size for key, size in engine.items() if key != "logits"}
    rollouts = {key: size for key, size in held.items() if key not in ("bfloat16 copies", "gathered weights")}
    return [Peak(f"{what} (rollouts)", rollouts | engine, host), Peak(what, held | learning, host)]


def _on_completions(run: Run, learning: LearningConfig, reference: bool) -> Peak:
    """DPO or SFT; only DPO has a reference.  A micro-batch is full."""
    what, held, computing, host = _policy_training(
        run, learning.tokens_per_microbatch, learning.logit_chunk, reference
    )
    return Peak(what, held | computing, host)


def _policy_training(run: Run, tokens: int, chunk: int, reference: bool) -> tuple[str, Parts, Parts, Parts]:
    """A title, what a training of the policy holds, what an update computes, and what the host holds.

    ``tokens``: of a micro-batch; ``chunk``: rows of logits at a time.
    """
    sizes, r, item = run.sizes, run.config.model.lora.r, run.bytes(later=run.config.grpo.iterations > 1)
    trained, frozen = (sizes.parameters, 0) if r is None else (run.adapters, sizes.parameters)
    held, gradients, host = _held(run, trained, frozen, item, sizes.head)
    if reference and r is None:
        copy = sizes.parameters * (item.product if run.division.master else item.weight)
        held["reference policy"] = copy / (run.ranks if run.division.parameters else 1)
    computing = gradients | {
        "activations": activations(run, sizes.layers, tokens, item),
        "logits": _logits(run, min(chunk, tokens), item),
    }
    return "training " + ("all weights" if r is None else f"adapters of rank {r}"), held, computing, host


def _fit(run: Run, after_training: bool) -> Peak:
    vm, sizes, r = run.config.vm, run.sizes, run.config.model.lora.r
    item = run.bytes(later=after_training)
    layers = min(vm.layers or sizes.layers, sizes.layers)
    weights = sizes.embedding + sizes.per_layer * layers
    still = sizes.embedding + sizes.per_layer * min(vm.freeze_layers, layers) if vm.freeze_layers else 0.0
    if r is None:
        held, gradients, host = _held(run, weights - still, still, item._replace(frozen=item.weight))
    else:
        held, gradients, host = _held(run, float(run.adapters), weights, item)
    kept = activations(run, layers - vm.freeze_layers, vm.tokens_per_microbatch, item)
    return Peak("fitting the value model", held | gradients | {"activations": kept}, host)


Parts = dict[str, float]


def _held(
    run: Run, trained: float, frozen: float, item: Bytes, head: float = 0.0
) -> tuple[Parts, Parts, Parts]:
    """Weights and Adam's two moments, gradients, and what of these is in the machine's memory.

    ``frozen`` weights are computed with, and not trained.  ``head``: weights of the output matrix.
    """
    division, sizes = run.division, run.sizes
    stored = item.product if division.master else item.weight
    moments = 2 * (4 if division.master else item.weight)
    held: Parts = {}
    gradients: Parts = {}
    host: Parts = {}
    weights = trained * stored + frozen * item.frozen
    _put(run, held, host, "parameters", weights, division.parameters)
    _put(run, gradients, host, "gradients", trained * stored, division.gradients)
    optimizer = trained * (moments + (4 if division.master else 0))
    _put(run, held, host, "optimizer state", optimizer, division.optimizer)
    # autocast keeps its copies from the forward to the backward pass; the embedding is looked up, not copied
    copied = max(trained - sizes.embedding, 0.0) if stored > item.product else 0.0
    if frozen and item.frozen > item.product and not run.config.model.checkpointing:
        copied += frozen - sizes.embedding
    if copied:
        held["bfloat16 copies"] = copied * item.product
    if run.ranks > 1 and (division.parameters or division.buffer):
        two_layers = 2 * sizes.per_layer + sizes.embedding + head if division.parameters else 0.0
        held["gathered weights"] = max(two_layers, min(division.buffer, trained + frozen)) * stored
    if run.ranks > 1 and division.bucket:
        gradients["gradients on their way"] = 2 * min(division.bucket, trained) * stored
    return held, gradients, host


def _put(run: Run, device: Parts, host: Parts, content: str, size: float, divided: bool) -> None:
    """Adds ``size`` bytes, or this rank's part of them, where the strategy holds them."""
    place = host if run.division.offload and run.device.type == "cuda" else device
    place[content] = size / run.ranks if divided else size


def activations(run: Run, layers: int, tokens: int, item: Bytes) -> float:
    """Activations that the backward pass of ``tokens`` tokens needs.

    Of a layer's two norms the input in float32, the normalized input if their weights are trained, and the
    output, which products share unless adapters make a copy in another precision for each; queries, keys,
    values and output of the attention; four times the intermediate size.  With checkpointing they exist for
    one layer, plus the inputs of the others.
    """
    sizes, product = run.sizes, item.product
    adapters = run.config.model.lora.r is not None
    stream = min(item.frozen, item.weight) if adapters else item.weight  # bytes of a number between layers
    norms = 2 * sizes.hidden * (4 + (0 if adapters else stream))
    outputs = sizes.hidden * product * (5 if adapters and product < 4 else 2)
    attention = (2 * sizes.attention + sizes.kv_per_token / sizes.layers) * product
    inner = tokens * (norms + outputs + attention + 4 * sizes.intermediate * product)
    if run.config.model.checkpointing:
        return float(inner + max(layers - 1, 0) * tokens * sizes.hidden * stream)
    return float(max(layers, 0) * inner)


def _logits(run: Run, rows: int, item: Bytes) -> float:
    """Two rows of logits a position going forward; going back, one, and the output matrix's gradient."""
    sizes = run.sizes
    product = rows * sizes.vocabulary * (item.product if item.product < 4 else 0)
    matrix = 4.0 * sizes.vocabulary * sizes.hidden if run.config.model.lora.r is None else 0.0
    return product + max(2.0 * rows * sizes.vocabulary * 4, rows * sizes.vocabulary * 4 + matrix)
