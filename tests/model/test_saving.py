"""What keeps a trained model from being saved is mended when it is loaded, or found before the training."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from restrl.config import LoraConfig, ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.model.adapters import add_lora
from restrl.model.load import load_model, load_tokenizer
from restrl.model.save import check_room_for, check_saving, save_model
from restrl.model.tiny import tiny_model, tiny_tokenizer
from restrl.model.value import new_value_model, save_value_model
from tests.stages.conftest import make_workplace

PATHS = PathsConfig()


def published(folder, **changes):
    """A folder with the tiny model, in whose JSON files ``changes`` are made; None removes a file."""
    save_model(tiny_model(), tiny_tokenizer(), folder)
    for name, settings in changes.items():
        path = folder / f"{name}.json"
        if settings is None:
            path.unlink()
        else:
            path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return ModelConfig(name="mine", path=str(folder))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"temperature": 0.6}, {}),
        ({"do_sample": False, "temperature": 0.6, "top_p": 0.9, "min_p": 0.1}, {"do_sample": False}),
        ({"top_k": 20, "eos_token_id": [2, 3], "repetition_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"top_k": 20, "do_sample": True}, {"do_sample": True, "top_k": 20}),
        ({"early_stopping": True, "length_penalty": 2.0}, {}),
        ({"early_stopping": True, "num_beams": 4}, {"early_stopping": True, "num_beams": 4}),
        ({"output_scores": True, "max_new_tokens": 7}, {"max_new_tokens": 7}),
        ({"use_cache": False, "cache_implementation": "static"}, {"use_cache": False}),
        ({"pad_token_id": -1, "temperature": 0.2}, {}),
    ],
    ids=str,
)
def test_a_generation_config_that_transformers_refuses_to_save(tmp_path, settings, kept):
    model = published(tmp_path / "base", generation_config=settings)
    policy, tokenizer = load_model(model, PATHS), load_tokenizer(model, PATHS)
    ends = settings.get("eos_token_id", 2)
    assert policy.generation_config.eos_token_id == ends  # the engine reads it
    check_saving(policy, tokenizer)
    save_model(policy, tokenizer, tmp_path / "policy")
    saved = json.loads((tmp_path / "policy" / "generation_config.json").read_text())
    assert {key: saved[key] for key in kept} == kept
    assert not (settings.keys() - kept.keys() - {"eos_token_id"}) & saved.keys()
    assert saved["eos_token_id"] == ends


def test_generation_settings_in_the_model_s_own_configuration(tmp_path):
    """As older models have them, without a file of their own."""
    model = published(tmp_path / "base", generation_config=None, config={"temperature": 0.6, "top_k": 9})
    policy = load_model(model, PATHS)
    check_saving(policy, load_tokenizer(model, PATHS))
    save_model(policy, load_tokenizer(model, PATHS), tmp_path / "policy")
    AutoModelForCausalLM.from_pretrained(tmp_path / "policy")


def test_the_value_model_of_such_a_policy(tmp_path):
    model = published(tmp_path / "base", generation_config={"temperature": 0.6})
    value_model = new_value_model(model, PATHS, "scalar")
    check_saving(value_model, load_tokenizer(model, PATHS))
    save_value_model(value_model, load_tokenizer(model, PATHS), tmp_path / "value_model")


class Unsavable:
    def save_pretrained(self, folder):
        raise NotImplementedError(f"no vocabulary\nfor {len(folder) and 'a folder'}")


def test_a_model_or_tokenizer_that_cannot_be_saved_at_all():
    policy = tiny_model()
    check_saving(policy, tiny_tokenizer())
    with pytest.raises(
        UserError, match="'llama' cannot be saved once it is trained: no vocabulary for a folder"
    ):
        check_saving(policy, Unsavable())
    policy.config.temperature = 0.5
    with pytest.raises(
        UserError, match=r"'llama' cannot be saved .* generation parameters are set in the model"
    ):
        check_saving(policy, tiny_tokenizer())
    with pytest.raises(UserError, match="model type 'llama' cannot be saved"):
        check_saving(add_lora(policy, LoraConfig(r=2)), tiny_tokenizer())


def test_it_is_found_before_anything_is_sampled(tmp_path):
    """By the run; here the vocabulary of the tokenizer's class is missing."""
    base, workplace = published(tmp_path / "base"), make_workplace(tmp_path)
    code = (
        "from transformers import PreTrainedTokenizerFast\n"
        "class Mine(PreTrainedTokenizerFast):\n"
        "    def save_pretrained(self, *_, **__): raise ValueError('no vocabulary')\n"
    )
    (tmp_path / "base" / "mine.py").write_text(code)
    settings = tmp_path / "base" / "tokenizer_config.json"
    mine = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": [None, "mine.Mine"]}}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | mine))
    finished = workplace.train(f"model.path={base.path}", "model.trust_remote_code=true")
    assert finished.code == 2, finished.err
    assert finished.err.endswith("'llama' cannot be saved once it is trained: no vocabulary\n")
    assert not list(workplace.outputs.glob("artifacts/grpo*"))
    assert [path.read_text() for path in workplace.outputs.glob("artifacts/*/records.jsonl")] == [""]


def test_a_configuration_that_contradicts_itself_is_one_line(tmp_path):
    model = published(tmp_path / "base", config={"num_attention_heads": 3})
    with pytest.raises(UserError, match=r"cannot load .* hidden size .64. is not a multiple") as error:
        load_model(model, PATHS)
    assert "\n" not in str(error.value)


def test_room_on_the_disk(tmp_path, monkeypatch):
    policy = tiny_model()
    size = sum(weight.numel() for weight in policy.parameters()) * 4
    missing = tmp_path / "not" / "there" / "yet"

    def free(room):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=room))

    free(size)
    check_room_for(policy, missing)
    free(size - 1)
    message = f"the trained model needs 0.00.* GB in {missing}, and .* GB are free there; .* paths.outputs"
    with pytest.raises(UserError, match=message):
        check_room_for(policy, missing)
    check_room_for(policy.to(torch.bfloat16), missing)  # half the size
    with pytest.raises(UserError, match=message):  # unless adapters are merged, in float32
        check_room_for(add_lora(policy, LoraConfig(r=2)), missing)
