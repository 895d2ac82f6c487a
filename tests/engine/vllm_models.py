"""A small model for vLLM, whose attention on a CPU wants heads of at least 32, and engines on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from restrl.config import EngineConfig
from restrl.engine.hf import HfEngine
from restrl.engine.registry import engine_builder
from restrl.model.save import save_model
from restrl.model.tiny import tiny_tokenizer
from tests.engine.models import source

TOKENIZER = tiny_tokenizer()
TEXTS = ("def f(x):", "a", "print(sum(range(10)))\nfor item in")
PROMPTS = [tuple(TOKENIZER(text)["input_ids"]) for text in TEXTS]
LONG = tuple((PROMPTS[2] * 20)[:300])  # more than one block of the prefix cache


def small_model(seed: int = 0, **more: Any) -> Any:
    """A Llama of random weights, float32, with tied embeddings."""
    settings = {
        "vocab_size": 384, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512,
        "initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        "tie_word_embeddings": True,
    }  # fmt: skip
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(LlamaConfig(**settings | more)).eval()


def saved(model: Any, folder: Path, tokenizer: Any = None) -> Path:
    save_model(model, tokenizer or TOKENIZER, folder)
    return folder


def start(folder: Path, model: Any, tokenizer: Any = None, **settings: Any) -> Any:
    """A vLLM engine on ``model``, which is saved below ``folder``."""
    if not (folder / "model").exists():
        saved(model, folder / "model", tokenizer)
    settings = {"name": "vllm", "kv_gb": 0.25, "batch_size": 48, **settings}
    made = source(model, tokenizer, files=lambda: folder / "model", logs=folder / "logs")
    return engine_builder("vllm")(made, EngineConfig(**settings))


def hf(model: Any, tokenizer: Any = None) -> HfEngine:
    return HfEngine(model, tokenizer or TOKENIZER, EngineConfig())


def sampled(completions: Any) -> list[tuple[Any, ...]]:
    return [(c.ids, c.text, c.finish, c.trailing) for c in completions]
