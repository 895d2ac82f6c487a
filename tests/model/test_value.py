"""Value models in the layout of AutoModelForSequenceClassification: ours load there, theirs load here."""

from logging import Handler

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)
from transformers.utils import logging

from restrl.config import LoraConfig, ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.model.load import load_model
from restrl.model.save import save_model
from restrl.model.tiny import tiny_model, tiny_tokenizer
from restrl.model.value import (
    add_value_lora,
    decoder_and_score,
    freeze_layers,
    keep_layers,
    load_value_model,
    new_value_model,
    save_value_model,
)

TINY = ModelConfig(name="tiny", source="random")
IDS = torch.tensor([[5, 9, 200, 7, 31]])
SIZES = {
    "vocab_size": 384, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
THEIRS = {
    "llama": (LlamaForSequenceClassification, LlamaConfig),
    "qwen2": (Qwen2ForSequenceClassification, Qwen2Config),
}


def with_random_head(model):
    torch.manual_seed(0)
    torch.nn.init.normal_(decoder_and_score(model)[1].weight, std=0.1)
    return model


def value_at_the_end(model, ids=IDS):
    decoder, head = decoder_and_score(model)
    return head(decoder(input_ids=ids).last_hidden_state[:, -1])


@pytest.mark.parametrize(("head", "labels"), [("scalar", 1), ("prob", 2)])
def test_a_new_model_is_the_policy_with_a_head_of_zeros(tmp_path, head, labels):
    for policy in (TINY, ModelConfig(path=str(tmp_path / "policy"))):
        if policy is not TINY:
            save_model(tiny_model(), tiny_tokenizer(), tmp_path / "policy")
        model = new_value_model(policy, PathsConfig(), head)
        expected = load_model(policy, PathsConfig()).base_model.state_dict()
        for name, weight in model.base_model.state_dict().items():
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)
        assert value_at_the_end(model).tolist() == [[0.0] * labels]
        assert not model.training


def test_nothing_is_said_of_the_new_head(tmp_path):
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "policy")
    said = []
    handler = Handler()
    handler.emit = said.append
    before = logging.get_verbosity()
    logging.add_handler(handler)
    try:
        new_value_model(ModelConfig(path=str(tmp_path / "policy")), PathsConfig(), "scalar")
    finally:
        logging.remove_handler(handler)
    assert said == []
    assert logging.get_verbosity() == before


@pytest.mark.parametrize("head", ["scalar", "prob"])
def test_what_is_saved_transformers_loads(tmp_path, head):
    model = with_random_head(new_value_model(TINY, PathsConfig(), head))
    save_value_model(model, tiny_tokenizer(), tmp_path / "vm")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "vm").eval()
    expected = value_at_the_end(model)
    assert expected.abs().min() > 1e-3
    # padded on the right, as transformers pools it: at the last token that is no padding
    padded = torch.cat([IDS, torch.full((1, 3), theirs.config.pad_token_id)], dim=1)
    torch.testing.assert_close(theirs(padded).logits, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        value_at_the_end(load_value_model(str(tmp_path / "vm"))), expected, rtol=0, atol=0
    )


@pytest.mark.parametrize("family", THEIRS)
@pytest.mark.parametrize("labels", [1, 2])
def test_what_transformers_saved_is_loaded(tmp_path, family, labels):
    torch.manual_seed(0)
    cls, config = THEIRS[family]
    theirs = with_random_head(cls(config(**SIZES, num_labels=labels)).eval())
    theirs.save_pretrained(tmp_path)
    ours = load_value_model(str(tmp_path))
    torch.testing.assert_close(value_at_the_end(ours), theirs(IDS).logits, rtol=0, atol=1e-6)


def test_the_padding_is_never_the_end_of_a_state(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token  # as many instruction models have it
    model = new_value_model(TINY, PathsConfig(), "scalar")
    save_value_model(model, tokenizer, tmp_path / "vm")
    assert load_value_model(str(tmp_path / "vm")).config.pad_token_id not in (None, tokenizer.eos_token_id)


def test_a_head_of_another_shape_is_refused(tmp_path):
    LlamaForSequenceClassification(LlamaConfig(**SIZES, num_labels=3)).save_pretrained(tmp_path)
    message = "LlamaForSequenceClassification has 3 outputs: a value model has a linear head of 1 or 2"
    with pytest.raises(UserError, match=message):
        load_value_model(str(tmp_path))
    with pytest.raises(UserError, match=r"cannot load the value model .*nowhere"):
        load_value_model(str(tmp_path / "nowhere"))


def test_adapters_are_trained_beside_the_head_and_merged_when_saved(tmp_path):
    model = with_random_head(new_value_model(TINY, PathsConfig(), "scalar"))
    before = value_at_the_end(model)
    add_value_lora(model, LoraConfig(r=2, target_modules="q_proj|.*up_proj"))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert "score.weight" in trained
    assert {name.split(".")[-3] for name in trained - {"score.weight"}} == {"lora_A", "lora_B"}
    torch.testing.assert_close(value_at_the_end(model), before, rtol=0, atol=0)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    expected = value_at_the_end(model)
    assert (expected - before).abs().max() > 1e-3
    save_value_model(model, tiny_tokenizer(), tmp_path / "vm")
    merged = load_value_model(str(tmp_path / "vm"))
    torch.testing.assert_close(value_at_the_end(merged), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", THEIRS)
def test_a_value_model_may_end_below_the_policys_last_layer(tmp_path, family):
    torch.manual_seed(0)
    cls, config = THEIRS[family]
    model = with_random_head(cls(config(**SIZES, num_labels=1)).eval())
    decoder, head = decoder_and_score(model)
    seen = []
    decoder.layers[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    whole = value_at_the_end(model)
    below = seen[0] if torch.is_tensor(seen[0]) else seen[0][0]
    expected = head(decoder.norm(below)[:, -1])
    keep_layers(model, 1)
    torch.testing.assert_close(value_at_the_end(model), expected, rtol=0, atol=0)
    assert (expected - whole).abs().max() > 1e-3
    save_value_model(model, tiny_tokenizer(), tmp_path / "vm")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "vm").eval()
    assert len(theirs.base_model.layers) == 1
    torch.testing.assert_close(value_at_the_end(theirs), expected, rtol=0, atol=1e-6)
    with pytest.raises(UserError, match=r"vm\.layers=2: the model has 1 layers"):
        keep_layers(model, 2)


def test_frozen_layers_get_no_gradient():
    model = with_random_head(new_value_model(TINY, PathsConfig(), "scalar"))
    freeze_layers(model, 1)
    value_at_the_end(model).sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    above = ("model.layers.1.", "model.norm.", "score.")
    assert moved == {name for name, _ in model.named_parameters() if name.startswith(above)}
    with pytest.raises(UserError, match=r"vm\.freeze_layers=3: the model has 2 layers"):
        freeze_layers(model, 3)
    everything = new_value_model(TINY, PathsConfig(), "scalar")
    freeze_layers(everything, 0)
    assert all(p.requires_grad for p in everything.parameters())
