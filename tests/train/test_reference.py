import torch
from peft import LoraConfig, get_peft_model

from restrl.objective.packed_attention import packed_logprobs
from restrl.objective.packing import Piece, TokenGroup, pack
from restrl.train.reference import Reference
from tests.train.toy import tiny_model

BATCH = pack((TokenGroup((2, 3), ((4, 5, 6), (7, 1))),), [Piece(0, (0, 1))])


def test_a_copy_stays_what_the_policy_was() -> None:
    model = tiny_model()
    before = packed_logprobs(model, BATCH).raw
    reference = Reference(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert torch.equal(reference.logprobs(model, BATCH, 1.0, 8), before)
    assert not torch.allclose(packed_logprobs(model, BATCH).logprobs, before)


def test_with_adapters_it_is_the_base_without_a_copy() -> None:
    base = packed_logprobs(tiny_model(), BATCH).raw
    policy = get_peft_model(
        tiny_model(), LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.5)
    ).train()
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_" in name:
                parameter.add_(0.5)
    reference = Reference(policy)
    assert reference.copy is None
    torch.testing.assert_close(reference.logprobs(policy, BATCH, 1.0, 8), base)
    assert policy.training  # as it was
    assert not torch.allclose(packed_logprobs(policy.eval(), BATCH).logprobs, base)
