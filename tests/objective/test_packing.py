"""A packed group gives the log-probabilities and gradients of its completions computed one by one."""

import random

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from restrl.errors import UserError
from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import Piece, TokenGroup, batches, micro_batches, pack
from restrl.objective.tree_attention import Branch, TreeLayout

GROUPS = (
    TokenGroup((3, 1, 4, 1, 5, 9, 2), ((6, 5, 3, 5), (8,), (9, 7, 9, 3, 2, 3))),
    TokenGroup((2, 7, 1), ((8, 2, 8, 1, 8), (2, 8))),
)
SIZES = {
    "vocab_size": 31, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": True}),
    "llama_untied": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": False}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 8}),
}


def build(family: str, **changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    model, config, extra = FAMILIES[family]
    return model(config(**SIZES, **(extra | changes)))


def plain_logprobs(model: torch.nn.Module) -> list[torch.Tensor]:
    """Per completion, from one padded batch of all completions with an ordinary attention mask."""
    rows = [group.prompt + completion for group in GROUPS for completion in group.completions]
    width = max(map(len, rows))
    ids = torch.tensor([row + (0,) * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    logprobs = model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
    result, row = [], 0
    for group in GROUPS:
        for completion in group.completions:
            start = len(group.prompt) - 1
            steps = torch.arange(start, start + len(completion))
            result.append(logprobs[row, steps, torch.tensor(completion)])
            row += 1
    return result


def weights() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(len(c), generator=generator) for group in GROUPS for c in group.completions]


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", [1000, 20, 12, 1])
def test_packed_equals_the_padded_batch_for_any_split(family: str, budget: int) -> None:
    model = build(family)
    plain = plain_logprobs(model)
    sum((p * w).sum() for p, w in zip(plain, weights(), strict=True)).backward()
    expected = gradients(model)
    first = {(0, 0): 0, (0, 1): 1, (0, 2): 2, (1, 0): 3, (1, 1): 4}  # (group, completion) -> row
    seen = []
    for pieces in micro_batches(GROUPS, budget):
        out = PolicyLM(model, chunk=4)(pack(GROUPS, pieces))
        rows = [first[p.group, i] for p in pieces for i in p.completions]
        seen += rows
        torch.testing.assert_close(out.logprobs, torch.cat([plain[r] for r in rows]), rtol=0, atol=1e-5)
        (out.logprobs * torch.cat([weights()[r] for r in rows])).sum().backward()
    assert sorted(seen) == [0, 1, 2, 3, 4]
    found = gradients(model)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-4)


def test_layout_positions_and_predictors() -> None:
    packed = pack((TokenGroup((10, 11), ((20, 21, 22), (30,), (40, 41))),), [Piece(0, (0, 1, 2))])
    assert packed.ids.tolist() == [10, 11, 20, 21, 40]  # the last token of a completion predicts nothing
    assert packed.positions.tolist() == [0, 1, 2, 3, 2]  # restart after the prompt
    assert packed.targets.tolist() == [20, 21, 22, 30, 40, 41]
    assert packed.predictors.tolist() == [1, 2, 3, 1, 1, 4]  # a first token is predicted by the prompt's end
    assert packed.sequence.tolist() == [0, 0, 0, 1, 2, 2]
    branches = (Branch(-1, 0, 2), Branch(0, 2, 2), Branch(0, 2, 0), Branch(0, 2, 1))
    assert packed.layout == TreeLayout(branches)


def test_micro_batches_keep_groups_whole_where_they_fit() -> None:
    # sizes: prompt + completions without their last tokens: 7 + 3 + 0 + 5 = 15 and 3 + 4 + 1 = 8
    assert micro_batches(GROUPS, 23) == [[Piece(0, (0, 1, 2)), Piece(1, (0, 1))]]
    assert micro_batches(GROUPS, 22) == [[Piece(0, (0, 1, 2))], [Piece(1, (0, 1))]]
    # 7 + 3 + 0 fits 12, the third completion needs a piece of its own (7 + 5)
    assert micro_batches(GROUPS[:1], 12) == [[Piece(0, (2,))], [Piece(0, (0, 1))]]


def test_ranks_get_equally_many_batches_of_nearly_equal_sums() -> None:
    sizes = [582, 450, 389, 265, 231, 120]
    assert batches(sizes, 1024) == [
        [0, 2],
        [1, 3, 4],
        [5],
    ]  # the third would leave a rank idle
    divided = batches(sizes, 1024, ranks=2)
    sums = [sum(sizes[i] for i in batch) for batch in divided]
    assert sorted(i for batch in divided for i in batch) == list(range(6))
    assert sums == [582, 509, 496, 450]
    assert batches(sizes, 1024, ranks=3) == [[0, 5], [1, 4], [2, 3]]


def test_ranks_get_batches_within_the_budget() -> None:
    rng = random.Random(0)
    for _ in range(300):
        sizes = [rng.randint(1, 120) for _ in range(rng.randint(1, 20))]
        ranks = rng.randint(2, 4)
        divided = batches(sizes, 100, ranks)
        assert sorted(i for batch in divided for i in batch) == list(range(len(sizes)))
        assert all(len(batch) == 1 or sum(sizes[i] for i in batch) <= 100 for batch in divided)
        assert len(divided) % ranks == 0 or len(divided) == len(sizes)  # too few items for some rank


def test_no_padding_is_computed() -> None:
    budget = 20
    packed = [pack(GROUPS, pieces) for pieces in micro_batches(GROUPS, budget)]
    assert all(len(p.ids) == sum(b.tokens for b in p.layout.branches) <= budget for p in packed)


def test_gradient_checkpointing_gives_the_same_gradient() -> None:
    pieces = [Piece(0, (0, 1, 2)), Piece(1, (0, 1))]
    model = build("qwen2").train()
    PolicyLM(model)(pack(GROUPS, pieces)).logprobs.sum().backward()
    expected = gradients(model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with PolicyLM(model).packing():
        PolicyLM(model)(pack(GROUPS, pieces)).logprobs.sum().backward()
    found = gradients(model)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-6)


def test_attention_of_the_model_is_as_before() -> None:
    model = build("llama")
    before = model.config._attn_implementation
    PolicyLM(model)(pack(GROUPS, [Piece(0, (0,))]))
    assert model.config._attn_implementation == before


def test_a_sequence_beyond_the_sliding_window_sees_its_window() -> None:
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5))
    plain = torch.cat(plain_logprobs(model))
    (plain * torch.cat(weights())).sum().backward()
    expected = gradients(model)
    out = PolicyLM(model)(pack(GROUPS, [Piece(0, (0, 1, 2)), Piece(1, (0, 1))])).logprobs
    (out * torch.cat(weights())).sum().backward()
    torch.testing.assert_close(out, plain, rtol=0, atol=1e-5)
    for name, found in gradients(model).items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=1e-4)
    model.config.sliding_window = None  # without the window the numbers are others
    assert (torch.cat(plain_logprobs(model)) - plain).abs().max() > 1e-3


def test_an_output_layer_that_is_not_linear_is_refused() -> None:
    model = build("llama")
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(
        UserError, match="model type 'llama' cannot be trained: its output layer is not linear"
    ):
        PolicyLM(model)(pack(GROUPS, [Piece(0, (0,))]))


def saved_bytes(model: torch.nn.Module, group: TokenGroup) -> int:
    """What the backward pass of a packed group is kept for, each storage once."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        PolicyLM(model)(pack([group], [Piece(0, tuple(range(len(group.completions))))]))
    return sum(storage.nbytes() for storage in kept.values())


def test_memory_is_bounded_by_tokens_and_not_by_branches() -> None:
    """100 completions of 2 tokens after 300 tokens of prompt are 400 tokens, as is one of 100 after 300."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**SIZES | {"max_position_embeddings": 512}))
    prompt = tuple(i % 31 for i in range(300))
    many = saved_bytes(model, TokenGroup(prompt, tuple((i % 31, 5) for i in range(100))))
    one = saved_bytes(model, TokenGroup(prompt, (tuple(i % 31 for i in range(101)),)))
    assert many < 1.1 * one  # with the prompt's keys copied to each branch it would be 4 times
