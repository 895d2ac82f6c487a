"""States of a problem packed into one tree give the values and gradients of one forward per state."""

import math
import random
from array import array

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
    Qwen2Config,
    Qwen2ForSequenceClassification,
    Qwen3Config,
    Qwen3ForSequenceClassification,
)

from restrl.attention import Span, Terms
from restrl.model.value_lm import ValueLM
from restrl.objective.tree_attention import (
    Branch,
    TreeLayout,
    branch_attention,
    flex_tree_attention,
    tree_mode,
)
from restrl.objective.tree_packing import (
    CUT_STEP,
    Prefixes,
    TokenTree,
    TreePiece,
    fit_window,
    pack_trees,
    token_trees,
    tree_batches,
)
from restrl.objective.value_loss import head_values, value_loss

# forks at the root, inside a state and at a state's end; a state that is empty, one that is there twice
TREES = (
    TokenTree((3, 1, 4), ((1, 5), (1, 5, 9, 2), (1, 5, 9, 6), (1, 7), (), (8, 2, 8), (1, 5, 9, 2), (8,))),
    TokenTree((2, 7), ((1, 8, 2), (1, 8, 2, 8, 4), (1, 8, 4), (5, 9, 6))),
)
SIZES = {
    "vocab_size": 31, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "llama": (LlamaForSequenceClassification, LlamaConfig, {"num_labels": 1}),
    "qwen2": (Qwen2ForSequenceClassification, Qwen2Config, {"num_labels": 2}),
    "qwen3": (Qwen3ForSequenceClassification, Qwen3Config, {"num_labels": 1, "head_dim": 8}),
}
STATES = [(t, s) for t, tree in enumerate(TREES) for s in range(len(tree.states))]


def values_of(model, batch):
    return head_values(ValueLM(model)(batch))


def build(family):
    torch.manual_seed(0)
    model, config, extra = FAMILIES[family]
    built = model(config(**SIZES, **extra))
    torch.nn.init.normal_(built.score.weight, std=0.1)
    return built


def one_by_one(model):
    """The value of each state from a forward of its own, by transformers' own classes and attention."""
    rows = [torch.tensor([TREES[t].prompt + TREES[t].states[s]]) for t, s in STATES]
    return head_values(torch.cat([model(input_ids=row).logits for row in rows]))


def whole(trees=TREES):
    return [TreePiece(t, tuple(range(len(tree.states))), 0) for t, tree in enumerate(trees)]


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", [1000, 14, 8, 1])
def test_packed_equals_one_forward_per_state_for_any_split(family, budget):
    model = build(family)
    generator = torch.Generator().manual_seed(1)
    targets, weights = torch.rand(2, len(STATES), generator=generator)
    expected = one_by_one(model)
    ((expected - targets).square() * weights).sum().div(weights.sum()).backward()
    expected_gradients = gradients(model)
    seen = []
    for pieces in tree_batches(TREES, budget):
        values = values_of(model, pack_trees(TREES, pieces))
        rows = [STATES.index((p.tree, s)) for p in pieces for s in p.states]
        seen += rows
        torch.testing.assert_close(values, expected[rows], rtol=0, atol=1e-5)
        value_loss(values.unsqueeze(1), targets[rows], weights[rows], float(weights.sum()))[0].backward()
    assert sorted(seen) == list(range(len(STATES)))
    found = gradients(model)
    assert found.keys() == expected_gradients.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected_gradients[name], rtol=0, atol=1e-5)


def test_the_layout_of_a_tree():
    batch = pack_trees(TREES[:1], whole(TREES[:1]))
    #                              prompt   (1,5)  9  2  6  7  8  2  8
    assert batch.ids.tolist() == [3, 1, 4, 1, 5, 9, 2, 6, 7, 8, 2, 8]
    assert batch.positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 4, 3, 4, 5]
    assert batch.layout.branches == (
        Branch(-1, 0, 7),  # the prompt and (1, 5, 9, 2): no fork is needed until here
        Branch(0, 6, 1),  # 6, after 3 1 4 1 5 9
        Branch(0, 4, 1),  # 7, after 3 1 4 1
        Branch(0, 3, 3),  # 8 2 8, after the prompt
    )
    # in the order of TREES[0].states
    assert batch.ends.tolist() == [4, 6, 7, 8, 2, 11, 6, 9]


def test_siblings_fork_from_the_same_branch():
    tree = TokenTree((1,), ((2, 3), (2, 4), (2, 5)))
    branches = pack_trees([tree], whole([tree])).layout.branches
    assert branches == (Branch(-1, 0, 3), Branch(0, 2, 1), Branch(0, 2, 1))


def test_the_value_of_two_outputs_is_the_probability_of_the_second():
    logits = torch.tensor([[0.0, math.log(3)], [1.0, 1.0]])  # odds of 3 to 1, and even ones
    assert head_values(logits).tolist() == pytest.approx([0.75, 0.5])
    assert head_values(torch.tensor([[1.5], [-2.0]])).tolist() == [1.5, -2.0]


def test_a_token_sees_its_ancestors_and_itself():
    layout = pack_trees(TREES, whole()).layout
    sees = [row.nonzero().flatten().tolist() for row in layout.mask]
    assert sees[7] == [0, 1, 2, 3, 4, 5, 7]  # 6, after 3 1 4 1 5 9
    assert sees[8] == [0, 1, 2, 3, 8]  # 7, after 3 1 4 1
    assert sees[11] == [0, 1, 2, 9, 10, 11]
    assert sees[12] == [12]  # the second tree sees nothing of the first
    assert layout.subtree_ends.tolist()[:4] == [12, 12, 12, 9]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(
    "terms",
    [Terms(scale=0.3), Terms(span=Span(3)), Terms(span=Span(3, chunked=True)), Terms(softcap=0.7)],
    ids=["plain", "window", "chunks", "softcap"],
)
def test_both_ways_to_compute_tree_attention_equal_a_dense_mask(terms):
    """FlexAttention has no backward pass on a CPU: of it only what it sees can be compared here."""
    layout = pack_trees(TREES, whole()).layout
    generator = torch.Generator().manual_seed(0)
    tokens, depths = len(layout.subtree_ends), layout.depths
    query, key, value = (
        torch.randn(1, heads, tokens, 16, generator=generator).requires_grad_() for heads in (4, 2, 2)
    )
    mask = layout.mask
    if terms.span is not None:
        mask = mask & (depths >= terms.span.first(depths.unsqueeze(1)))
    repeated = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    scores = query @ repeated[0].transpose(2, 3) * (terms.scale or 0.25)
    scores = scores if terms.softcap is None else 0.7 * torch.tanh(scores / 0.7)
    expected = scores.masked_fill(~mask, float("-inf")).softmax(-1) @ repeated[1]
    found = flex_tree_attention(flex_attention, query.detach(), key.detach(), value.detach(), layout, terms)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    weight = torch.randn(expected.shape, generator=generator)
    expected_gradients = torch.autograd.grad((expected * weight).sum(), (query, key, value))
    found = branch_attention(query, key, value, layout, terms)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    found_gradients = torch.autograd.grad((found * weight).sum(), (query, key, value))
    torch.testing.assert_close(found_gradients, expected_gradients, rtol=0, atol=1e-5)


def test_gradient_checkpointing_gives_the_same_gradient():
    model = build("qwen2").train()
    batch = pack_trees(TREES, whole())
    values_of(model, batch).sum().backward()
    expected = gradients(model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with tree_mode(model.model):
        values_of(model, batch).sum().backward()
    found = gradients(model)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-6)


def test_batches_keep_trees_whole_where_they_fit():
    # packed tokens: 3 + (1 5 9 2, 6, 7, 8 2 8) = 12, and 2 + (1 8 2 8 4, 4, 5 9 6) = 11
    assert [[p.tokens for p in batch] for batch in tree_batches(TREES, 23)] == [[12, 11]]
    assert [[p.tokens for p in batch] for batch in tree_batches(TREES, 22)] == [[12], [11]]
    # 3 + 4 + 1 = 8 leaves no room for 7; the next piece repeats the prompt, and 1 before the 7: 3 + 2 + 3
    pieces = [piece for batch in tree_batches(TREES[:1], 8) for piece in batch]
    assert sorted(piece.tokens for piece in pieces) == [8, 8]


@pytest.mark.parametrize("budget", [8, 11, 100])
def test_a_batch_is_as_long_as_said_and_within_the_budget(budget):
    for pieces in tree_batches(TREES, budget):
        batch = pack_trees(TREES, pieces)
        assert len(batch.ids) == sum(piece.tokens for piece in pieces) <= budget
        assert len(batch.ids) == sum(branch.tokens for branch in batch.layout.branches)


def test_a_path_beyond_the_sliding_window_sees_its_window():
    torch.manual_seed(0)
    model = MistralForSequenceClassification(MistralConfig(**SIZES, num_labels=1, sliding_window=3))
    torch.nn.init.normal_(model.score.weight, std=0.1)
    found = values_of(model, pack_trees(TREES, whole()))
    torch.testing.assert_close(found, one_by_one(model), rtol=0, atol=1e-5)


def test_states_that_share_a_prompt_share_a_tree():
    trees, members = token_trees([((1, 2), (3,)), ((1,), (3,)), ((1, 2), (4, 5))], max_tokens=10)
    assert trees == [TokenTree((1, 2), ((3,), (4, 5))), TokenTree((1,), ((3,),))]
    assert members == [(0, 2), (1,)]


def test_a_long_prompt_is_cut_in_its_middle():
    prompt, ids = tuple(range(1000)), tuple(range(2000, 2100))
    assert fit_window(prompt, ids, 1100) == (prompt, ids)
    cut, kept = fit_window(prompt, ids, 1000)
    room = 1000 - CUT_STEP  # the state's 100 tokens take up 128: states of similar length share the prompt
    assert cut == (*range(room // 2), *range(1000 - room // 2, 1000))
    assert kept == ids
    assert fit_window(prompt, ids[:90], 1000)[0] == cut


def test_a_state_that_fills_the_window_loses_its_oldest_tokens():
    cut, kept = fit_window(tuple(range(100)), tuple(range(2000, 3000)), 200)
    assert len(cut) == 50  # a quarter of the window
    assert kept == tuple(range(2850, 3000))
    assert fit_window((1, 2), (3, 4, 5), 4) == ((1,), (3, 4, 5))


def test_the_layout_of_nothing_shared_is_plain_causal_attention():
    layout = TreeLayout((Branch(-1, 0, 4),))
    assert layout.mask.int().tolist() == torch.ones(4, 4).tril().int().tolist()


def test_states_that_are_prefixes_are_packed_as_their_copies():
    """Sequences of any order, equal ones and empty states among them: the same batches, token for token."""
    draw = random.Random(0)
    stems = [[draw.randrange(4) for _ in range(12)] for _ in range(3)]
    sequences = []
    for _ in range(12):
        stem = draw.choice(stems)[: draw.randrange(12)]
        sequences.append(array("i", [*stem, *(draw.randrange(4) for _ in range(draw.randrange(8)))]))
    places = [(i, draw.randint(0, len(s))) for i, s in enumerate(sequences) for _ in range(5)]
    lazy = TokenTree((1, 2), Prefixes(sequences, places))
    copied = TokenTree((1, 2), tuple(tuple(sequences[i][:tokens]) for i, tokens in places))
    assert tuple(lazy.states) == copied.states
    for budget in (1000, 20, 1):
        pieces = tree_batches([copied], budget)
        assert [[p.tokens for p in batch] for batch in tree_batches([lazy], budget)] == [
            [p.tokens for p in batch] for batch in pieces
        ]
        for batch in pieces:
            a, b = pack_trees([lazy], batch), pack_trees([copied], batch)
            assert (a.ids.tolist(), a.positions.tolist(), a.layout, a.ends.tolist()) == (
                b.ids.tolist(), b.positions.tolist(), b.layout, b.ends.tolist(),
            )  # fmt: skip
