"""The hf engine against transformers' own generate and a plain forward, on tiny random models."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from restrl.config import EngineConfig, LoraConfig
from restrl.engine.hf import HfEngine, _Run
from restrl.engine.sampling import uniforms
from restrl.errors import UserError
from restrl.model.adapters import add_lora
from restrl.model.tiny import tiny_model, tiny_tokenizer
from restrl.records import Request

TOKENIZER = tiny_tokenizer()
PROMPTS = [
    tuple(TOKENIZER(text)["input_ids"]) for text in ("def f(x):", "a", "print(sum(range(10)))\nfor item in")
]


def engine(model=None, batch_size=48):
    return HfEngine(
        model if model is not None else tiny_model(), TOKENIZER, EngineConfig(batch_size=batch_size)
    )


def greedy(model, prompt, count):
    out = model.generate(torch.tensor([prompt]), max_new_tokens=count, do_sample=False, pad_token_id=0)
    return out[0, len(prompt) :].tolist()


def logprobs_of(model, prompt, ids, temperature=1.0):
    """log pi of each of ``ids`` by one plain forward."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    return (logits.float() / temperature).log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]


def sampled(completions):
    return [(c.ids, c.text, c.finish, c.trailing) for c in completions]


SIZES = {
    "vocab_size": 384, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.2,
}  # fmt: skip
FAMILIES = {
    "llama": LlamaConfig(**SIZES),
    "llama3 rope": LlamaConfig(
        **SIZES,
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
        },
    ),
    "all heads": LlamaConfig(**SIZES | {"num_key_value_heads": 4}),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=16),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_greedy_and_logprobs_equal_transformers(family, dtype):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family]).to(dtype).eval()
    out = engine(model).generate([Request(prompt, n=2, max_tokens=24, temperature=0) for prompt in PROMPTS])
    for prompt, (first, second) in zip(PROMPTS, out, strict=True):
        assert first == second
        if dtype == torch.float32:
            assert list(first.ids) == greedy(model, prompt, 24)
        tolerance = 1e-4 if dtype == torch.float32 else 0.1
        expected = logprobs_of(model, prompt, first.ids)
        torch.testing.assert_close(torch.tensor(first.logprobs), expected, atol=tolerance, rtol=0)


def test_logprobs_of_samples_are_those_of_their_temperature():
    model = tiny_model()
    (completions,) = engine(model).generate([Request(PROMPTS[0], 3, 12, temperature=0.5, top_p=0.9, seed=3)])
    for completion in completions:
        expected = logprobs_of(model, PROMPTS[0], completion.ids, temperature=0.5)
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)


def test_samples_depend_on_the_request_alone():
    """Alone, in a batch, and with rows leaving and entering (batches smaller than the number of samples)."""
    stop = (TOKENIZER.decode([70]), "e")  # ends rows at different times
    numbers, limits = (3, 1, 5, 2, 4, 1), (20, 7, 30, 15, 11, 1)
    requests = [
        Request(PROMPTS[i % 3], numbers[i], limits[i], 1.0, stop=stop, seed=i) for i in range(len(numbers))
    ]
    model = tiny_model()
    alone = [sampled(engine(model).generate([request])[0]) for request in requests]
    assert len({c[0] for completions in alone for c in completions}) > 8  # the samples differ
    assert len({len(c[0]) for completions in alone for c in completions}) > 4  # and end at different times
    for batch_size in (1, 3, 48):
        together = engine(model, batch_size).generate(requests)
        assert [sampled(completions) for completions in together] == alone
    backwards = engine(model, 3).generate(requests[::-1])
    assert [sampled(completions) for completions in backwards] == alone[::-1]


def test_more_samples_leave_the_first_ones_as_they_are():
    one, four = (engine().generate([Request(PROMPTS[0], n, 10, seed=5)])[0] for n in (1, 4))
    assert sampled(one) == sampled(four[:1])
    assert len({c.ids for c in four}) == 4


def test_another_seed_gives_other_samples():
    first, second = engine().generate([Request(PROMPTS[0], 1, 10, seed=seed) for seed in (0, 1)])
    assert first[0].ids != second[0].ids


def test_no_request_and_no_sample():
    assert engine().generate([]) == []
    assert engine().generate([Request(PROMPTS[0], 0, 5), Request(PROMPTS[1], 1, 5)])[0] == ()


class Script(torch.nn.Module):
    """Puts in place of the model's logits those that spell ``text``, then the end token."""

    def __init__(self, model, prompt, ids):
        super().__init__()
        self.next = dict(zip(range(len(prompt) - 1, len(prompt) + len(ids)), [*ids, 2], strict=True))
        self.positions = None
        model.model.register_forward_pre_hook(self.note, with_kwargs=True)
        model.lm_head.register_forward_hook(self.spell)

    def note(self, _module, _args, kwargs):
        self.positions = kwargs["position_ids"][:, -1].tolist()

    def spell(self, _module, _inputs, logits):
        logits = torch.zeros_like(logits)
        for row, position in enumerate(self.positions):
            logits[row, -1, self.next[position]] = 50.0
        return logits


def completion_of(text, **options):
    """What the engine makes of a model that says ``text`` and ends."""
    model, ids = tiny_model(), TOKENIZER(text)["input_ids"]
    Script(model, PROMPTS[0], ids)
    settings = {"n": 1, "max_tokens": 100, "temperature": 0.0} | options
    ((completion,),) = engine(model).generate([Request(PROMPTS[0], **settings)])
    assert completion.ids == (*ids, 2)[: len(completion.ids)]
    return completion


def test_the_end_token_ends_and_is_no_text():
    completion = completion_of("\n    return x")
    assert (completion.text, completion.finish, completion.trailing) == ("\n    return x", "eos", None)
    assert completion.ids[-1] == 2


def test_a_stop_string_may_span_tokens():
    pieces = TOKENIZER.tokenize("x\n```")
    assert len(pieces) > 2  # the stop string is no token of its own
    completion = completion_of("\n    return x\n```\nmore", stop=("\n```",))
    assert (completion.text, completion.finish, completion.trailing) == ("\n    return x", "stop", 0)
    assert TOKENIZER.decode(completion.ids) == "\n    return x\n```"


def test_characters_after_the_stop_string_are_counted():
    assert "Ġreturn" in TOKENIZER.tokenize("a return x")  # one token: stopping inside it leaves "turn"
    completion = completion_of("a return x", stop=(" re",))
    assert (completion.text, completion.finish, completion.trailing) == ("a", "stop", 4)


def test_the_stop_string_that_ends_first_counts():
    completion = completion_of("abc+def", stop=("def", "c+"))
    assert (completion.text, completion.finish) == ("ab", "stop")


def test_max_tokens_ends_a_completion():
    completion = completion_of("\n    return x + 1", max_tokens=3)
    assert (len(completion.ids), completion.finish) == (3, "length")


def test_a_stop_string_in_the_last_token_allowed_is_a_stop():
    ids = TOKENIZER("ab")["input_ids"]
    assert completion_of("ab", max_tokens=len(ids), stop=("b",)).finish == "stop"


def test_a_stop_string_of_characters_that_tokens_share():
    completion = completion_of('x = "é"\n```', stop=("\n```",))
    assert completion.text == 'x = "é"'


def test_the_model_positions_end_a_completion():
    model = tiny_model()
    room = 2048 - 5
    prompt = (10,) * room
    ((completion,),) = engine(model).generate([Request(prompt, 1, 50, temperature=0)])
    assert completion.finish in ("length", "eos")
    assert len(completion.ids) <= 5
    with pytest.raises(UserError, match=r"a prompt of 2048 tokens leaves no room in the model's 2048: leave"):
        engine(model).generate([Request((10,) * 2048, 1, 1)])


def test_an_empty_prompt_is_a_user_error():
    with pytest.raises(UserError, match="a request needs at least one prompt token"):
        engine().generate([Request((), 1, 1)])


def test_a_diverged_model_is_a_user_error():
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="the model's logits are not finite"):
        engine(model).generate([Request(PROMPTS[0], 2, 4)])


def test_a_sequence_beyond_the_sliding_window_sees_its_window():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MistralConfig(**SIZES, sliding_window=8)).eval()
    out = engine(model).generate([Request(prompt, 1, 30, temperature=0) for prompt in PROMPTS])
    for prompt, (completion,) in zip(PROMPTS, out, strict=True):
        assert list(completion.ids) == greedy(model, prompt, 30)
        expected = logprobs_of(model, prompt, completion.ids)
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)


def test_a_model_without_attention_interface_is_a_user_error():
    model = tiny_model()
    model.model._supports_attention_backend = False
    with pytest.raises(UserError, match="model type 'llama' is not supported: its attention cannot be repl"):
        engine(model).generate([Request(PROMPTS[0], 1, 1)])


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails):
    model = tiny_model()
    model.train()
    model.model.layers[0].eval()  # a mixed state comes back too
    before = [module.training for module in model.modules()]
    implementation = model.config._attn_implementation
    if fails:

        def boom(*_):
            raise KeyError("boom")

        model.model.layers[1].register_forward_pre_hook(boom)
        with pytest.raises(KeyError, match="boom"):
            engine(model).generate([Request(PROMPTS[0], 1, 2)])
    else:
        engine(model).generate([Request(PROMPTS[0], 1, 2)])
    assert [module.training for module in model.modules()] == before
    assert model.config._attn_implementation == implementation != "restrl_decode"


def test_training_after_sampling_gives_the_same_gradient():
    def gradient(model):
        ids = torch.tensor([PROMPTS[2]])
        model.train()
        model(ids, labels=ids).loss.backward()
        return model.model.embed_tokens.weight.grad

    fresh, used = tiny_model(), tiny_model()
    engine(used).generate([Request(PROMPTS[0], 2, 3)])
    torch.testing.assert_close(gradient(used), gradient(fresh), rtol=0, atol=0)


def test_adapters_take_part():
    model = add_lora(tiny_model(), LoraConfig(r=4), seed=0)
    sampler = engine(model)
    request = Request(PROMPTS[0], 1, 16, temperature=0)
    ((before,),) = sampler.generate([request])
    assert list(before.ids) == greedy(tiny_model(), PROMPTS[0], 16)  # adapters begin as zero
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    ((after,),) = sampler.generate([request])
    assert after.ids != before.ids
    assert list(after.ids) == greedy(model, PROMPTS[0], 16)


def test_gradient_checkpointing_does_not_disturb_sampling():
    model = tiny_model()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    ((completion,),) = engine(model).generate([Request(PROMPTS[0], 1, 8, temperature=0)])
    assert list(completion.ids) == greedy(tiny_model(), PROMPTS[0], 8)


def test_progress_counts_completions():
    counts = []
    engine(batch_size=2).generate([Request(PROMPTS[0], 3, 4), Request(PROMPTS[1], 2, 2)], counts.append)
    assert sum(counts) == 5


def test_each_token_has_a_random_number_of_its_own():
    """Where all 384 tokens are equally likely, token t of a sample is floor(384 u_t)."""
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight.zero_()
    sampler = engine(model)
    sampler.eos = set()
    (completions,) = sampler.generate([Request(PROMPTS[0], 2, 6, seed=4)])
    for sample, completion in enumerate(completions):
        assert completion.ids == tuple(int(384 * u) for u in uniforms(4, sample, 6))


def test_keys_and_values_bound_the_rows(monkeypatch):
    """The tiny model: 2 layers x 2 heads of 16, keys and values, 4 bytes: 512 bytes a token."""
    live, sizes = [], []
    decode = _Run._decode

    def spy(self):
        live.append(len(self.rows))
        decode(self)
        sizes.append(sum(t.numel() * t.element_size() for t in (*self.cache.keys, *self.cache.values)))

    monkeypatch.setattr(_Run, "_decode", spy)
    request = Request(PROMPTS[0], n=8, max_tokens=100, temperature=1.0, seed=1)
    expected = engine().generate([request])
    assert max(live) == 8
    live.clear(), sizes.clear()
    budget = 3.5 * 512 * (len(PROMPTS[0]) + 100)  # of three and a half rows
    small = HfEngine(tiny_model(), TOKENIZER, EngineConfig(kv_gb=budget / 2**30))
    assert sampled(small.generate([request])[0]) == sampled(expected[0])
    assert max(live) == 3
    assert max(sizes) <= budget


def test_under_autocast_keys_are_as_small_as_values(monkeypatch):
    found = set()
    decode = _Run._decode

    def spy(self):
        decode(self)
        found.update(tensor.dtype for tensor in (*self.cache.keys, *self.cache.values))

    monkeypatch.setattr(_Run, "_decode", spy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        engine().generate([Request(PROMPTS[0], n=2, max_tokens=4, temperature=1.0, seed=1)])
    assert found == {torch.bfloat16}
