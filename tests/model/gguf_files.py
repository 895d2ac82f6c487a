"""Small GGUF files: a Qwen2 of random weights with the tiny tokenizer, whole or in parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from transformers import Qwen2Config, Qwen2ForCausalLM

from restrl.model.tiny import tiny_tokenizer

Kind = gguf.GGMLQuantizationType
# numbers of rows that every quantization's blocks divide
SIZES = {
    "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip


def tiny_qwen2() -> Any:
    torch.manual_seed(0)
    size = len(tiny_tokenizer())
    config = Qwen2Config(**SIZES, vocab_size=size, bos_token_id=0, eos_token_id=2, pad_token_id=0)
    return Qwen2ForCausalLM(config).eval()


def write_gguf(
    path: Path,
    model: Any,
    kind: Any = Kind.F32,
    *,
    parts: int = 1,
    arch: str = "qwen2",
    without: str = "",
    kind_of_file: str | None = None,
    split: str = "qwen2",
) -> list[Path]:
    """Writes ``model`` as llama.cpp does; ``without``: a tensor to leave out.  Returns its files, in order.

    ``path``: NAME.gguf; parts are called NAME-00001-of-00003.gguf and so on.
    """
    tensors = [(name, data) for name, data in _tensors(model) if name != without]
    each = -(-len(tensors) // parts) if parts > 1 else 0
    writer = gguf.GGUFWriter(path, arch, split_max_tensors=each)
    config = model.config
    writer.add_name("tiny")
    if kind_of_file:
        writer.add_type(kind_of_file)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    _add_tokenizer(writer, split)
    for name, data in tensors:
        if data.ndim == 1 or kind == Kind.F32:
            writer.add_tensor(name, data)
        else:
            writer.add_tensor(name, quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(path.parent.glob(f"{path.stem}-*.gguf")) if parts > 1 else [path]


def _tensors(model: Any) -> list[tuple[str, np.ndarray]]:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, model.config.num_hidden_layers)
    found = []
    for name, weight in model.state_dict().items():
        stem, _, kind = name.rpartition(".")
        if name != "lm_head.weight":
            found.append((f"{names.get_name(stem)}.{kind}", weight.float().numpy()))
    return found


def _add_tokenizer(writer: Any, split: str) -> None:
    tokenizer = tiny_tokenizer()
    described = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(tokenizer.all_special_tokens) | set(tokenizer.added_tokens_encoder)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([3 if token in special else 1 for token, _ in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in described["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
