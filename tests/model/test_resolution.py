"""What bfloat16 shows of an update."""

import pytest
import torch

from restrl.config import LoraConfig
from restrl.model.adapters import add_lora, merged_weights
from restrl.model.resolution import resolved_share, updated_weights
from restrl.model.tiny import tiny_model

BF16 = torch.bfloat16


def share(old, new, dtype=BF16):
    return resolved_share(iter([(torch.tensor(old), torch.tensor(new))]), dtype)


def test_by_hand():
    # from 1 the next bfloat16 number is 1 + 2^-7: a quarter of that is not seen, all of it is
    assert share([1.0], [1.0 + 2**-9]) == 0
    assert share([1.0], [1.0 + 2**-7]) == 1
    assert share([1.0], [1.0 + 2**-9], torch.float32) == 1
    # two steps, of which the larger one is seen: (1 x 1 + 0 x 1/4) / (1 + 1/16) in units of 2^-7
    assert share([1.0, 1.0], [1.0 + 2**-7, 1.0 + 2**-9]) == pytest.approx(1 / (1 + 1 / 16))
    assert share([1.0], [1.0]) is None


def test_all_weights_are_compared_with_those_before():
    model = tiny_model()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    assert resolved_share(updated_weights(model, tiny_model), BF16) == pytest.approx(1, abs=0.01)
    pairs = list(updated_weights(model, tiny_model))
    assert len(pairs) == len(list(model.parameters()))  # a tied matrix once
    for old, new in pairs:
        torch.testing.assert_close(new - old, torch.ones_like(old), atol=1e-6, rtol=0)


def test_adapters_need_no_second_model():
    model = add_lora(tiny_model(), LoraConfig(r=2)).get_base_model()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)

    def start():
        raise AssertionError("nothing but adapters was trained")

    pairs = list(updated_weights(model, start))
    after, before = merged_weights(model), tiny_model().state_dict()
    moved = [name for name in after if not torch.equal(after[name], before[name])]
    assert len(moved) == len(pairs) == 14  # 7 matrices in each of 2 layers
    for name, (old, new) in zip(moved, pairs, strict=True):
        torch.testing.assert_close(old, before[name], rtol=0, atol=0)
        torch.testing.assert_close(new, after[name], rtol=0, atol=1e-6)
