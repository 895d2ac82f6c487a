"""Loaded models have no dropout, wherever their architecture keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    FalconConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PhiConfig,
    Starcoder2Config,
)

from restrl.config import LoraConfig, ModelConfig, PathsConfig
from restrl.model.adapters import add_lora
from restrl.model.load import load_model
from restrl.model.value import load_value_model, new_value_model

SIZES: dict[str, Any] = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
DECODER = SIZES | {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
CONFIGS = {
    "llama": LlamaConfig(**DECODER, attention_dropout=0.5),
    "gpt_neox": GPTNeoXConfig(**DECODER, attention_dropout=0.5, hidden_dropout=0.5),
    "phi": PhiConfig(**DECODER, attention_dropout=0.5, resid_pdrop=0.5, embd_pdrop=0.5),
    "starcoder2": Starcoder2Config(
        **DECODER, num_key_value_heads=1, attention_dropout=0.5, residual_dropout=0.5, embedding_dropout=0.5
    ),
    "gpt2": GPT2Config(
        **SIZES, n_embd=16, n_layer=2, n_head=2, attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5
    ),
    "opt": OPTConfig(
        **SIZES, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=32,
        word_embed_proj_dim=16, max_position_embeddings=32, dropout=0.5, attention_dropout=0.5, layerdrop=0.5,
    ),
    "falcon": FalconConfig(
        **SIZES, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, attention_dropout=0.5,
        hidden_dropout=0.5,
    ),
}  # fmt: skip
IDS = torch.arange(3, 23).unsqueeze(0)


def saved(kind: str, folder: Path) -> ModelConfig:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(CONFIGS[kind]).save_pretrained(folder)
    return ModelConfig(path=str(folder))


def same_in_training(model: Any) -> bool:
    """Whether the model says the same in training mode as in evaluation mode."""
    torch.manual_seed(0)
    with torch.no_grad():
        return torch.equal(model.train()(IDS).logits, model.eval()(IDS).logits)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_loaded_policy_has_none(kind: str, tmp_path: Path) -> None:
    config = saved(kind, tmp_path)
    assert not same_in_training(AutoModelForCausalLM.from_pretrained(tmp_path))
    assert same_in_training(load_model(config, PathsConfig()))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
def test_value_models_have_none(kind: str, tmp_path: Path) -> None:
    config = saved(kind, tmp_path / "policy")
    model = new_value_model(config, PathsConfig(), "scalar")
    nn.init.ones_(model.score.weight)
    assert same_in_training(model)
    CONFIGS[kind].num_labels = 1
    other = AutoModelForSequenceClassification.from_config(CONFIGS[kind])
    assert not same_in_training(other)
    other.save_pretrained(tmp_path / "value")
    assert same_in_training(load_value_model(str(tmp_path / "value")))


def test_adapters_keep_their_own(tmp_path: Path) -> None:
    config = saved("llama", tmp_path)
    model = add_lora(load_model(config, PathsConfig()), LoraConfig(r=2, dropout=0.5))
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.5}


def test_what_is_saved_says_so(tmp_path: Path) -> None:
    load_model(saved("falcon", tmp_path / "before"), PathsConfig()).save_pretrained(tmp_path / "after")
    config = AutoConfig.from_pretrained(tmp_path / "after")
    assert (config.attention_dropout, config.hidden_dropout) == (0, 0)
