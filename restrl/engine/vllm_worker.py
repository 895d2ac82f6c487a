"""What vLLM's workers do for us: log-probabilities as ``restrl.records.Completion`` defines them, and syncs.

vLLM adds the methods of ``WorkerExtension`` to its worker class, in this process or in processes of its own.
Written for vllm 0.32.0 and its first model runner (``VLLM_USE_V2_MODEL_RUNNER=0``), which serves GPUs and
CPUs alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from vllm.config import set_current_vllm_config
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)
from vllm.platforms import current_platform
from vllm.v1.outputs import LogprobsTensors

Bucket = list[tuple[str, Tensor]] | str  # named tensors, or the path of a safetensors file with them


class WorkerExtension:
    """Methods for ``LLMEngine.collective_rpc``."""

    model_runner: Any
    vllm_config: Any

    def restrl_prepare(self) -> None:
        """Called once after the start."""
        sampler = self.model_runner.sampler
        sample = sampler.topk_topp_sampler.forward
        if current_platform.is_cpu():
            sample = _UnmovedByParts(sample, self.model_runner)
        sampler.topk_topp_sampler.forward = _LogprobsBeforeTopP(sample)
        sampler.gather_logprobs = _sampled_logprobs

    def restrl_ping(self) -> bool:
        return True

    def restrl_memory(self) -> int:
        """Bytes of the GPU that are in use, by this and by other processes."""
        free, total = torch.cuda.mem_get_info()
        return total - free

    def restrl_begin_sync(self) -> None:
        """Opens the model for new weights, which may then come in any number of buckets.

        A layer's weights wait until all of them have come; then the layer is loaded, and its kernels' own
        copies are written over in place.  So there is never a second model in memory.
        """
        model = self.model_runner.get_model()
        self._restrl_missing = {name for name, _ in model.named_parameters()}
        initialize_layerwise_reload(model)

    def restrl_load(self, bucket: Bucket) -> None:
        with set_current_vllm_config(self.vllm_config):
            model = self.model_runner.get_model()
            if isinstance(bucket, list):
                self._restrl_missing -= model.load_weights(iter(bucket))
                return
            with safe_open(Path(bucket), "pt") as file:
                named = ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118
                self._restrl_missing -= model.load_weights(named)

    def restrl_end_sync(self) -> list[str]:
        """Finishes the new weights; returns the names of weights that none came for."""
        with set_current_vllm_config(self.vllm_config):
            model = self.model_runner.get_model()
            finalize_layerwise_reload(model, self.vllm_config.model_config)
            _repack(model)
        return sorted(self._restrl_missing)


class _LogprobsBeforeTopP:
    """A sampling function that reports the distribution at the request's temperature, before top-p.

    vLLM would report either the model's own distribution, before the temperature, or what top-p left of it.
    """

    def __init__(self, sample: Any) -> None:
        self.sample = sample

    def __call__(
        self, logits: Tensor, generators: dict[int, torch.Generator], k: Tensor | None, p: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if k is None and p is None:
            return self.sample(logits, generators, k, p)  # type: ignore[no-any-return]
        logprobs = logits.log_softmax(dim=-1, dtype=torch.float32)  # top-p writes to logits
        tokens, _ = self.sample(logits, generators, k, p)
        return tokens, logprobs


class _UnmovedByParts:
    """A sampling function that draws nothing for a prompt of which only a part was computed, on a CPU.

    vLLM draws a token after each part, drops it, and moves the request's generator back, which generators of
    a CPU cannot do: the engine would fail.
    """

    def __init__(self, sample: Any, runner: Any) -> None:
        self.sample = sample
        self.runner = runner

    def __call__(
        self, logits: Tensor, generators: dict[int, Any], k: Tensor | None, p: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        dropped = self.runner.discard_request_mask.np
        drawing = {row: generator for row, generator in generators.items() if not dropped[row]}
        for row in generators.keys() - drawing.keys():
            generators[row] = _Unmoved(generators, row)
        return self.sample(logits, drawing, k, p)  # type: ignore[no-any-return]


class _Unmoved:
    """Stands for a generator that did not move, until it is moved back."""

    def __init__(self, generators: dict[int, Any], row: int) -> None:
        self.generators, self.row, self.generator = generators, row, generators[row]

    def get_offset(self) -> int:
        return 0

    def set_offset(self, _offset: int) -> None:
        self.generators[self.row] = self.generator


def _sampled_logprobs(logprobs: Tensor, _count: int, token_ids: Tensor) -> LogprobsTensors:
    """The sampled tokens' own log-probabilities.  ``logprobs`` [B, V], ``token_ids`` [B].

    vLLM's function also ranks the tokens, with a kernel that is compiled for 20 s on first use.
    """
    ids = token_ids.unsqueeze(-1)
    unranked = torch.zeros_like(token_ids, dtype=torch.int32)
    return LogprobsTensors(ids.to(torch.int32), logprobs.gather(-1, ids), unranked)


def _repack(model: torch.nn.Module) -> None:
    """Renews the packed copy of an output layer that is tied to the embedding, on a CPU.

    A reload renews the copies of layers that are loaded themselves.  A tied output layer is not, so the
    engine would sample from new hidden states with old output weights.
    """
    if not current_platform.is_cpu():
        return
    for layer in model.modules():
        weight = getattr(layer, "weight", None)
        if hasattr(layer, "cpu_linear") and weight is not None and weight.numel():  # else: only packed
            dispatch_cpu_unquantized_gemm(layer, remove_weight=False)
