"""The whole way from a model to loss and gradient, against TRL's GRPOTrainer on the same tensors."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl import GRPOTrainer

from restrl.config import ObjectiveConfig
from restrl.objective.packed_attention import packed_logprobs
from restrl.objective.packing import micro_batches, pack
from restrl.objective.policy_loss import LossInputs, loss_normalizer, policy_loss
from tests.objective.test_packing import GROUPS, build, gradients

MAX_TOKENS = 7
ADVANTAGES = [0.7, -1.2, 0.4, 1.1, -0.9]
SETTINGS = {
    "grpo": ObjectiveConfig(kl=0.04),
    "dapo": ObjectiveConfig(clip_high=0.28, aggregate="token"),
    "dr_grpo": ObjectiveConfig(aggregate="constant"),
    "gspo": ObjectiveConfig(ratio="sequence", clip_low=3e-4, clip_high=4e-4),
}
ROWS = [(group.prompt, completion) for group in GROUPS for completion in group.completions]


def off_policy(seed: int) -> list[torch.Tensor]:
    """Shifts of the log-probabilities, per completion, that make ratios on both sides of the clip limits."""
    generator = torch.Generator().manual_seed(seed)
    return [0.3 * torch.randn(len(c), generator=generator) for _, c in ROWS]


def padded(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True)


def trl_inputs(model: Any, objective: ObjectiveConfig) -> dict[str, torch.Tensor]:
    """TRL pads prompts on the left and completions on the right."""
    width = max(len(p) for p, _ in ROWS)
    completions = padded([torch.tensor(c) for _, c in ROWS])
    mask = padded([torch.ones(len(c)) for _, c in ROWS])
    inputs = {
        "prompt_ids": torch.tensor([(0,) * (width - len(p)) + p for p, _ in ROWS]),
        "prompt_mask": torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p, _ in ROWS]),
        "completion_ids": completions,
        "completion_mask": mask.long(),
        "advantages": torch.tensor(ADVANTAGES),
        "num_items_in_batch": mask.sum(),
    }
    with torch.no_grad():
        ids = torch.cat([inputs["prompt_ids"], completions], 1)
        own = plain(model, ids, torch.cat([inputs["prompt_mask"], mask.long()], 1), completions.shape[1])[0]
    inputs["old_per_token_logps"] = own + padded(off_policy(1))
    if objective.kl > 0:
        inputs["ref_per_token_logps"] = own + padded(off_policy(2))
    return inputs


def plain(model: Any, ids: Any, mask: Any, keep: int, **_: Any) -> tuple[torch.Tensor, torch.Tensor, None]:
    """Log-probabilities of the last ``keep`` tokens of each row, as TRL's fused head gives them."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -keep - 1 : -1]
    logprobs = logits.log_softmax(-1)
    return logprobs.gather(2, ids[:, -keep:, None])[..., 0], -(logprobs.exp() * logprobs).sum(-1), None


def trl_trainer(name: str, objective: ObjectiveConfig) -> Any:
    accelerator = SimpleNamespace(
        num_processes=1, gather=lambda x: x, reduce=lambda x, **_: x, gather_for_metrics=lambda x: x
    )
    return SimpleNamespace(
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        loss_type="grpo" if name == "gspo" else name, beta=objective.kl,
        importance_sampling_level=objective.ratio, epsilon_low=objective.clip_low,
        epsilon_high=objective.clip_high, max_completion_length=MAX_TOKENS,
        current_gradient_accumulation_steps=1, accelerator=accelerator, model=SimpleNamespace(training=True),
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False, aux_loss_enabled=False,
        _entropy_bonus_enabled=False, _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda model, ids, mask, keep, **_: plain(model, ids, mask, keep),
    )  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("budget", [1000, 12])
def test_loss_and_gradient_equal_trl(name: str, budget: int) -> None:
    objective = SETTINGS[name]
    model = build("qwen2").train()
    inputs = trl_inputs(model, objective)
    theirs = GRPOTrainer._compute_loss(trl_trainer(name, objective), model, inputs)
    theirs.backward()
    expected = gradients(model)

    row = {(0, 0): 0, (0, 1): 1, (0, 2): 2, (1, 0): 3, (1, 1): 4}
    lengths = [len(c) for _, c in ROWS]
    normalizer = loss_normalizer(objective, len(ROWS), sum(lengths), MAX_TOKENS)
    total = 0.0
    for pieces in micro_batches(GROUPS, budget):
        rows = [row[p.group, i] for p in pieces for i in p.completions]
        packed = pack(GROUPS, pieces)

        def flat(key: str, rows: list[int] = rows) -> torch.Tensor:
            return torch.cat([inputs[key][r, : lengths[r]] for r in rows])

        loss, _ = policy_loss(
            LossInputs(
                logprobs=packed_logprobs(model, packed).logprobs,
                old_logprobs=flat("old_per_token_logps"),
                advantages=inputs["advantages"][rows],
                sequence=packed.sequence,
                ref_logprobs=flat("ref_per_token_logps") if objective.kl > 0 else None,
            ),
            objective,
            normalizer,
        )
        loss.backward()
        total += loss.item()
    assert total == pytest.approx(theirs.item(), abs=1e-6)
    found = gradients(model)
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=0, atol=1e-5)
