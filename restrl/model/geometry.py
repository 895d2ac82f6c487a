"""The sizes of a model, from its configuration alone: no weight is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from restrl.config import LoraConfig, ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.model.source import load_pretrained
from restrl.model.tiny import tiny_model


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
    attention: int  # numbers in a token's queries, all heads of a layer
    kv_per_token: int  # numbers in the keys and values of all layers
    stored_bytes: int  # bytes of a weight in the file

    @property
    def per_layer(self) -> float:
        """Parameters of a decoder layer."""
        return (self.parameters - self.embedding - self.head) / self.layers


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
        attention=heads * head_dim,
        kv_per_token=2 * settings.num_hidden_layers * kv_heads * head_dim,
        stored_bytes=stored.itemsize if isinstance(stored, torch.dtype) else 4,
    )
