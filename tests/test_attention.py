"""The terms of attention: what is not understood is an error, in the engine and in the trainer alike."""

import pytest
import torch

from restrl.attention import Span, Terms, causal_attention, masked_attention, position_limit, read_terms
from restrl.engine.attention import attention
from restrl.errors import UserError
from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import Piece, TokenGroup, pack
from restrl.objective.tree_attention import Branch, TreeLayout, tree_attention
from restrl.records import Request
from tests.families import PROMPTS, build, engine, plain_logprobs
from tests.threads import one_thread  # noqa: F401

LONG = {
    "original_max_position_embeddings": 32,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 1e4, "factor": 8.0, "short_factor": [1.0] * 4,
        "long_factor": [2.0, 3.0, 5.0, 8.0],
    },
}  # fmt: skip
WAYS = {
    "engine": attention,
    "trainer": lambda *tensors, **more: tree_attention(
        *tensors, tree_layout=TreeLayout((Branch(-1, 0, 5),)), **more
    ),
}


def layer():
    return build("llama").model.layers[0].self_attn


def tensors(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, heads, 5, 8, generator=generator).to(dtype) for heads in (4, 2, 2)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["position_bias", "indices", "block_indices", "an_argument_of_tomorrow"])
def test_an_argument_that_is_not_understood_is_an_error(way, name):
    with pytest.raises(UserError, match=f"model type 'llama' is not supported: its attention has {name}"):
        WAYS[way](layer(), *tensors(), None, **{name: torch.ones(1)})


@pytest.mark.parametrize("way", WAYS)
def test_what_attention_does_not_depend_on_is_no_error(way):
    more = {"position_ids": torch.arange(5), "output_attentions": False, "an_argument_of_tomorrow": None}
    found, expected = (WAYS[way](layer(), *tensors(), None, **arguments)[0] for arguments in (more, {}))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("way", WAYS)
def test_a_mask_of_the_model_is_an_error(way):
    with pytest.raises(
        UserError, match="model type 'llama' is not supported: its attention has a mask of its"
    ):
        WAYS[way](layer(), *tensors(), torch.zeros(1, 1, 5, 5))
    with pytest.raises(UserError, match="its attention has no causal mask"):
        WAYS[way](layer(), *tensors(), None, is_causal=False)


@pytest.mark.parametrize("way", WAYS)
def test_rotated_queries_and_keys_get_the_dtype_of_the_values(way):
    """As under autocast: cos and sin are float32, and so is what they are multiplied with."""
    query, key, value = tensors()
    found, _ = WAYS[way](layer(), query, key, value.bfloat16(), None)
    assert found.dtype == torch.bfloat16
    exact, _ = WAYS[way](layer(), query, key, value, None)
    torch.testing.assert_close(found.float(), exact, rtol=0, atol=0.05)


def test_a_window_and_chunks_by_hand():
    # positions:   0  1  2  3  4  5
    assert [Span(3).first(p) for p in range(6)] == [-2, -1, 0, 1, 2, 3]
    assert [Span(3, chunked=True).first(p) for p in range(6)] == [0, 0, 0, 3, 3, 3]


def test_a_sink_takes_weight_and_a_cap_bounds_scores():
    one = torch.ones(1, 1, 1, 1)
    # scores 0 and 0, sink log 2: weights 1/4, 1/4 and 1/2 for the sink; values 1 and 1
    terms = Terms(scale=0.0, sinks=torch.tensor([2.0]).log())
    keys = torch.ones(1, 1, 2, 1)
    assert float(causal_attention(one, keys, keys, terms)) == pytest.approx(0.5)
    # scores 1000 and 0 are capped at 1 and 0
    keys, values = torch.tensor([1000.0, 0.0]).view(1, 1, 2, 1), torch.tensor([1.0, 0.0]).view(1, 1, 2, 1)
    seen = torch.ones(1, 2, dtype=torch.bool)
    found = masked_attention(one, keys, values, Terms(scale=1.0, softcap=1.0), seen)
    assert float(found) == pytest.approx(torch.tensor([1.0, 0.0]).softmax(0)[0])


def test_layers_that_say_nothing_of_their_kind_are_refused_beyond_the_window():
    module = layer()
    module.config.sliding_window = 8
    assert read_terms(module, {}, longest=8).span is None
    with pytest.raises(
        UserError, match="9 tokens are more than its sliding window of 8, and it does not say"
    ):
        read_terms(module, {}, longest=9)
    module.config.layer_types = ["sliding_attention", "full_attention"] * 2
    assert read_terms(module, {}, longest=9).span == Span(8)


def test_longrope_ends_where_a_rotation_would_depend_on_the_neighbours():
    model = build("phi3", sliding_window=None, **LONG)
    assert position_limit(model.config) == 32
    short, long = Request(PROMPTS[1], 1, 8, temperature=0), Request(tuple(range(28)), 1, 30, temperature=0)
    ((alone,),) = engine(model).generate([short])
    (beside,), (cut,) = engine(model).generate([short, long])
    assert beside.ids == alone.ids
    assert beside.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
    assert (len(cut.ids), cut.finish) == (4, "length")
    expected = plain_logprobs(model, [(long.prompt_ids, cut.ids)])
    assert cut.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    with pytest.raises(UserError, match="a prompt of 32 tokens leaves no room in the model's 32"):
        engine(model).generate([Request(tuple(range(32)), 1, 4)])
    group = TokenGroup(tuple(range(30)), ((5, 6, 7, 8),))  # the last token of a completion is not computed
    with pytest.raises(UserError, match="model type 'phi3': 33 tokens do not fit the 32 that it takes here"):
        PolicyLM(model)(pack([group], [Piece(0, (0,))]))


def test_llama_4_ends_where_its_temperature_would_depend_on_the_neighbours():
    more = {"attn_temperature_tuning": True, "floor_scale": 24, "no_rope_layers": [1, 0, 1, 0]}
    model = build("llama4_text", **more)
    group = TokenGroup(tuple(range(10)), ((5, 6, 7, 8), (9, 10, 11, 12)))
    found = PolicyLM(model)(pack([group], [Piece(0, (0, 1))])).logprobs
    expected = plain_logprobs(model, [(group.prompt, completion) for completion in group.completions])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    with pytest.raises(
        UserError, match="model type 'llama4_text': 24 tokens do not fit the 23 that it takes"
    ):
        PolicyLM(model)(pack([TokenGroup(tuple(range(18)), group.completions)], [Piece(0, (0, 1))]))
