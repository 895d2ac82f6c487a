"""A model whose numbers here are not its own is refused when it is loaded, in one line that names it."""

import pytest
import torch

from restrl.errors import UserError
from restrl.model.selfcheck import check_sampling, check_training, check_value_model
from tests.families import build, build_value_model, engine


def test_logits_that_are_not_those_of_the_output_matrix_are_refused():
    model = build("llama")
    check_training(model)
    model.register_forward_hook(lambda _m, _i, out: setattr(out, "logits", out.logits * 1.01) or out)
    with pytest.raises(
        UserError, match="model type 'llama' cannot be trained: its log-probabilities differ fr"
    ):
        check_training(model)


def test_a_layer_that_looks_elsewhere_is_refused():
    """A peculiarity that no argument tells of: of every sequence's first token the layer makes another."""
    for check, model in (
        (check_training, build("llama")),
        (lambda model: check_sampling(engine(model), model), build("llama")),
        (check_value_model, build_value_model("llama")),
    ):
        check(model)
        decoder = model.model

        def mix(_module, inputs):
            hidden = inputs[0]
            return (hidden + hidden.roll(1, dims=1), *inputs[1:])

        decoder.layers[0].self_attn.o_proj.register_forward_pre_hook(mix)
        with pytest.raises(
            UserError, match=r"model type 'llama' cannot be .*: its .* differ from transformers"
        ):
            check(model)


def test_whatever_a_model_fails_with_is_one_line_that_names_it():
    def fails(*_):
        raise KeyError("over\nmany lines")

    model = build("qwen2")
    model.model.layers[1].register_forward_pre_hook(fails)
    for check in (check_training, lambda model: check_sampling(engine(model), model)):
        with pytest.raises(UserError, match=r"^model type 'qwen2' cannot be .*: KeyError: .*$"):
            check(model)


def test_not_a_number_is_a_difference():
    model = build_value_model("llama")
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="cannot be a value model: its hidden states differ"):
        check_value_model(model)


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gemma2", "gpt_oss"])
def test_half_precision_rounds_within_the_tolerance(family):
    model = build(family).bfloat16()
    check_training(model)
    check_sampling(engine(model), model)
    check_value_model(build_value_model(family).bfloat16())
