import torch
from peft import LoraConfig, get_peft_model

from restrl.config import TrainerConfig
from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import Piece, TokenGroup, pack
from restrl.ranks import ALONE
from restrl.train.reference import Reference
from restrl.train.strategy import Strategy
from tests.train.toy import tiny_model

STRATEGY = Strategy(TrainerConfig(accelerator="cpu"), ALONE)
BATCH = pack((TokenGroup((2, 3), ((4, 5, 6), (7, 1))),), [Piece(0, (0, 1))])


def test_a_copy_stays_what_the_policy_was() -> None:
    model = tiny_model()
    before = PolicyLM(model)(BATCH).raw
    reference = Reference(PolicyLM(model, chunk=8), STRATEGY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert torch.equal(reference.logprobs(PolicyLM(model), BATCH), before)
    assert not torch.allclose(PolicyLM(model)(BATCH).logprobs, before)


def test_with_adapters_it_is_the_base_without_a_copy() -> None:
    base = PolicyLM(tiny_model())(BATCH).raw
    policy = get_peft_model(
        tiny_model(), LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.5)
    ).train()
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_" in name:
                parameter.add_(0.5)
    reference = Reference(PolicyLM(policy), STRATEGY)
    assert reference.copy is None
    torch.testing.assert_close(reference.logprobs(PolicyLM(policy).train(), BATCH), base)
    assert policy.training  # as it was
    assert not torch.allclose(PolicyLM(policy.eval())(BATCH).logprobs, base)
