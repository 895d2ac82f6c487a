"""Every model family, tiny and random: which of restrl's computations give transformers' own numbers for it.

    python -m tests.families

writes docs/model_families.md from what is measured here; ``tests/test_families.py`` tests the same functions.
"Own numbers" are those of the model's own code ("eager": transformers' sdpa leaves some models' terms out).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from restrl.attention import decoder_of
from restrl.config import EngineConfig
from restrl.engine.hf import HfEngine
from restrl.errors import UserError
from restrl.model.policy_lm import PolicyLM
from restrl.model.selfcheck import check_sampling, check_training, check_value_model
from restrl.model.tiny import tiny_tokenizer
from restrl.model.value import check_architecture
from restrl.model.value_lm import ValueLM
from restrl.objective.packing import Piece, TokenGroup, pack
from restrl.objective.tree_packing import TokenTree, TreePiece, pack_trees
from restrl.objective.value_loss import head_values
from restrl.records import Request

TABLE = Path(__file__).parent.parent / "docs" / "model_families.md"
TOKENIZER = tiny_tokenizer()
WINDOW = 8  # tokens; every sequence here is longer
SIZES = {
    "vocab_size": 384, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 0,
    "initializer_range": 0.2,  # with transformers' own 0.02 attention adds next to nothing
}  # fmt: skip
EXPERTS = {
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
    "shared_expert_intermediate_size": 16,
}  # fmt: skip
HEAD = {"head_dim": 8}
SLIDING = {"sliding_window": WINDOW}
LATENT = {
    "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "num_key_value_heads": 4, "first_k_dense_replace": 1,
}  # fmt: skip
GEMMA = {**HEAD, **SLIDING, "query_pre_attn_scalar": 8}
CAPS = {"attn_logit_softcapping": 1.0, "final_logit_softcapping": 2.0}
GPT = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 256, "n_inner": 48}
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
# model type -> what its configuration needs beyond SIZES, with its peculiarities switched on
FAMILIES: dict[str, dict[str, Any]] = {
    "afmoe": {**EXPERTS, **SLIDING},
    "apertus": {},
    "arcee": {},
    "bloom": {"n_layer": 4, "n_head": 4},
    "codegen": {**GPT, "rotary_dim": 8},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25, **SLIDING},
    "deepseek_v2": {**EXPERTS, **LATENT, "topk_method": "greedy", "q_lora_rank": None},
    "deepseek_v3": {**EXPERTS, **LATENT},
    "doge": {},
    "ernie4_5": {},
    "exaone4": {**SLIDING, "sliding_window_pattern": 2},
    "falcon": {"num_kv_heads": 2, "alibi": False},
    "gemma": HEAD,
    "gemma2": {**GEMMA, **CAPS},
    "gemma3_text": GEMMA,
    "glm": HEAD,
    "glm4": HEAD,
    "glm4_moe": {**EXPERTS, **HEAD},
    "gpt2": GPT,
    "gpt_bigcode": GPT,
    "gpt_neo": {
        "num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]], "window_size": WINDOW
    },
    "gpt_neox": {},
    "gpt_oss": {**EXPERTS, **HEAD, **SLIDING},
    "gptj": {**GPT, "rotary_dim": 8},
    "granite": {
        "logits_scaling": 4.0, "attention_multiplier": 0.3, "embedding_multiplier": 2.0,
        "residual_multiplier": 0.5,
    },
    "granitemoe": {**EXPERTS, "logits_scaling": 4.0, "attention_multiplier": 0.3},
    "helium": HEAD,
    "hunyuan_v1_dense": HEAD,
    "jetmoe": {**EXPERTS, "kv_channels": 8},
    "llama": {"rope_parameters": LLAMA3_ROPE},
    "llama4_text": {
        **HEAD, "num_local_experts": 2, "num_experts_per_tok": 1, "attention_chunk_size": WINDOW,
        "intermediate_size_mlp": 48,
    },
    "ministral": {**HEAD, **SLIDING, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "ministral3": {},
    "mistral": SLIDING,
    "mixtral": {**EXPERTS, **SLIDING},
    "modernbert-decoder": {**SLIDING, "local_attention": WINDOW, "global_attn_every_n_layers": 2},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 4},
    "nemotron": {},
    "olmo": {},
    "olmo2": {},
    "olmo3": SLIDING,
    "olmoe": EXPERTS,
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "persimmon": {},
    "phi": {},
    "phi3": SLIDING,
    "phimoe": {**EXPERTS, "sliding_window": 256},
    "qwen2": {**SLIDING, "use_sliding_window": True, "max_window_layers": 2},
    "qwen2_moe": EXPERTS,
    "qwen3": {**HEAD, **SLIDING, "use_sliding_window": True, "max_window_layers": 2},
    "qwen3_moe": {**EXPERTS, **HEAD},
    "qwen3_next": {
        **EXPERTS, **HEAD, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "recurrent_gemma": {},
    "seed_oss": HEAD,
    "smollm3": {},
    "stablelm": {},
    "starcoder2": SLIDING,
    "vaultgemma": {**GEMMA, **CAPS},
}  # fmt: skip
PROMPTS = (tuple(range(10, 30)), tuple(range(40, 45)))
GROUPS = (
    TokenGroup(PROMPTS[0], ((5, 6, 7, 8), (9, 10))),
    TokenGroup(PROMPTS[1], (tuple(range(60, 72)),)),
)
ROWS = [(group.prompt, completion) for group in GROUPS for completion in group.completions]
# forks inside the states and at their ends, and a state that is the prompt
TREES = (
    TokenTree(PROMPTS[0], ((5, 6, 7), (5, 6, 8, 9), (5,), ())),
    TokenTree(PROMPTS[1], (tuple(range(60, 70)),)),
)
STATES = [tree.prompt + state for tree in TREES for state in tree.states]


def build(family: str, auto: Any = AutoModelForCausalLM, **more: Any) -> Any:
    """The family's model with random weights, float32, with its own attention, always the same."""
    config = CONFIG_MAPPING[family](**{**SIZES, **FAMILIES[family], **more})
    torch.manual_seed(0)
    model = auto.from_config(config).eval()
    for name, weight in model.named_parameters():
        if "sink" in name or name.startswith("score"):  # made as zeros or nearly
            torch.nn.init.normal_(weight, std=0.5)
    decoder = decoder_of(model) if auto is AutoModelForCausalLM else model.base_model
    decoder.config._attn_implementation = "eager"
    return model


def build_value_model(family: str) -> Any:
    check_architecture(CONFIG_MAPPING[family]())
    return build(family, AutoModelForSequenceClassification, num_labels=1)


def engine(model: Any) -> HfEngine:
    return HfEngine(model, TOKENIZER, EngineConfig())


def sampled(model: Any) -> tuple[list[list[int]], Tensor]:
    """Greedy completions of the prompts by the engine, and the log-probabilities of all their tokens."""
    out = engine(model).generate([Request(prompt, 1, 12, temperature=0) for prompt in PROMPTS])
    completions = [some[0] for some in out]
    return [list(c.ids) for c in completions], torch.tensor([x for c in completions for x in c.logprobs])


def generated(model: Any) -> list[list[int]]:
    """The same by transformers' own ``generate``."""
    return [
        model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0, len(prompt) :].tolist()
        for prompt in PROMPTS
    ]


def plain_logprobs(model: Any, rows: Any = ROWS) -> Tensor:
    """Of every completion's tokens, by a forward of its own."""
    found = []
    for prompt, ids in rows:
        logits = model(torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
        found.append(logits.float().log_softmax(-1).gather(1, torch.tensor(ids).unsqueeze(1))[:, 0])
    return torch.cat(found)


def our_logprobs(model: Any) -> Tensor:
    return PolicyLM(model)(pack(GROUPS, [Piece(0, (0, 1)), Piece(1, (0,))])).logprobs


def plain_values(model: Any) -> Tensor:
    """Of every state, by transformers' own class."""
    return torch.cat([model(torch.tensor([state])).logits[:, 0] for state in STATES])


def our_values(model: Any) -> Tensor:
    pieces = [TreePiece(t, tuple(range(len(tree.states))), 0) for t, tree in enumerate(TREES)]
    return head_values(ValueLM(model)(pack_trees(TREES, pieces)))


def gradients(model: Any, numbers: Tensor) -> dict[str, Tensor]:
    """Of a random combination of the numbers."""
    weights = torch.randn(len(numbers), generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    (numbers.float() * weights).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@contextlib.contextmanager
def bf16_mixed() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield


@dataclass(frozen=True)
class Support:
    """What a family can be used for: None, or the line that refuses it."""

    sampling: str | None
    training: str | None
    values: str | None


def support(family: str) -> Support:
    """By the checks that a run makes when it loads a model."""
    return Support(
        _refusal(lambda: check_sampling(engine(model := build(family)), model)),
        _refusal(lambda: check_training(build(family))),
        _refusal(lambda: check_value_model(build_value_model(family))),
    )


def _refusal(check: Callable[[], None]) -> str | None:
    try:
        check()
    except UserError as error:
        return str(error)
    return None


def table() -> str:
    """The text of docs/model_families.md."""
    lines = [
        "# Model families",
        "",
        "Made by `python -m tests.families` from tiny random models of each family (transformers "
        f"{transformers.__version__}).  `tests/test_families.py` compares every *yes* with transformers' own "
        "numbers in float32 (greedy samples, log-probabilities, values, gradients; also beyond a sliding "
        "window or a chunk) and trains a step in bf16-mixed.  A family that is not listed is checked in the "
        "same way when a run loads it, and refused with one line if its numbers differ.",
        "",
        "| model type | sampling (engine=hf) | training | value model, scorer=vm | why not |",
        "|---|---|---|---|---|",
    ]
    for family in FAMILIES:
        found = support(family)
        refusals = (found.sampling, found.training, found.values)
        marks = ["yes" if refusal is None else "no" for refusal in refusals]
        reasons = dict.fromkeys(_reason(refusal) for refusal in refusals if refusal is not None)
        lines.append("| " + " | ".join([family, *marks, "; ".join(reasons)]) + " |")
    notes = [
        "",
        "- Sequences end at the length up to which a LongRoPE or dynamic rotation does not depend on the "
        "longest sequence of the batch (`original_max_position_embeddings`), and Llama 4's below its "
        "`floor_scale`.",
        "- A value model needs a class of transformers' `AutoModelForSequenceClassification` with a linear "
        "`score`, so that other tools load what is saved.",
        "- phimoe, and others that do not say which layers slide, are refused beyond their window.",
        "- Attention sinks (gpt_oss) are computed branch by branch on a GPU too: FlexAttention has no sinks.",
    ]
    return "\n".join([*lines, *notes]) + "\n"


def _reason(refusal: str) -> str:
    """Without the model's name, and the size of a difference, which rounding decides."""
    return re.sub(r" by [0-9.e+-]+$", "", refusal.removeprefix("model type ").split(": ", 1)[-1])


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    TABLE.write_text(table())
