"""The whole way from a model to loss and gradient, against TRL's GRPOTrainer on the same tensors."""

from collections import defaultdict
from math import log, nan
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl import DPOTrainer, GRPOTrainer

from restrl.config import GrpoConfig, ObjectiveConfig, SamplingConfig, TrainerConfig
from restrl.engine.sampling import choose
from restrl.model.policy_lm import PolicyLM
from restrl.objective.advantages import group_advantages, trained_groups
from restrl.objective.dpo_loss import dpo_loss
from restrl.objective.logprobs import chunked_logprobs
from restrl.objective.packing import Piece, TokenGroup, batches, micro_batches, pack, packed_tokens
from restrl.objective.policy_loss import LossInputs, loss_normalizer, policy_loss
from restrl.objective.sft_loss import sft_loss
from restrl.ranks import ALONE
from restrl.records import Completion, Group
from restrl.train.reference import Reference
from restrl.train.rollout import Rollout
from restrl.train.strategy import Strategy
from restrl.train.update import gradient_passes, training_batch
from tests.objective.test_packing import GROUPS, build, gradients

MAX_TOKENS = 7
ADVANTAGES = [0.7, -1.2, 0.4, 1.1, -0.9]
SETTINGS = {
    "grpo": ObjectiveConfig(kl=0.04),
    "bnpo": ObjectiveConfig(kl=0.04, aggregate="token"),
    "dapo": ObjectiveConfig(clip_high=0.28, aggregate="token"),
    "dr_grpo": ObjectiveConfig(aggregate="constant"),
    "gspo": ObjectiveConfig(ratio="sequence", clip_low=3e-4, clip_high=4e-4),
    "cispo": ObjectiveConfig(surrogate="cispo", clip_low=1.0, clip_high=0.2, aggregate="token"),
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


def plain(
    model: Any, ids: Any, mask: Any, keep: int, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, None]:
    """Log-probabilities of the last ``keep`` tokens of each row, as TRL's fused head gives them."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -keep - 1 : -1]
    logprobs = (logits / temperature).log_softmax(-1)
    return logprobs.gather(2, ids[:, -keep:, None])[..., 0], -(logprobs.exp() * logprobs).sum(-1), None


def trl_trainer(name: str, objective: ObjectiveConfig, temperature: float = 1.0) -> Any:
    accelerator = SimpleNamespace(
        num_processes=1, gather=lambda x: x, reduce=lambda x, **_: x, gather_for_metrics=lambda x: x
    )
    return SimpleNamespace(
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        loss_type="grpo" if name == "gspo" else name, beta=objective.kl,
        importance_sampling_level=objective.ratio, epsilon_low=objective.clip_low,
        epsilon_high=objective.clip_high + (name == "cispo"), max_completion_length=MAX_TOKENS,
        current_gradient_accumulation_steps=1, accelerator=accelerator, model=SimpleNamespace(training=True),
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False, aux_loss_enabled=False,
        _entropy_bonus_enabled=False, _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda model, ids, mask, keep, **_: plain(
            model, ids, mask, keep, temperature
        ),
    )  # fmt: skip


def assert_gradients(model: Any, expected: dict[str, torch.Tensor]) -> None:
    found = gradients(model)
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=0, atol=1e-5)


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
                logprobs=PolicyLM(model)(packed).logprobs,
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
    assert_gradients(model, expected)


@pytest.mark.parametrize("budget", [1000, 20])
def test_the_dpo_loss_and_its_gradient_equal_trl(budget: int) -> None:
    """Two pairs, and a reference of other weights.  TRL takes all chosen completions first."""
    pairs = [TokenGroup(g.prompt, (g.completions[0], g.completions[-1])) for g in GROUPS]
    model, reference = build("qwen2").train(), build("qwen2").eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    rows = [(pair.prompt, pair.completions[side]) for side in (0, 1) for pair in pairs]
    ids = padded([torch.tensor(p + c) for p, c in rows])
    inputs = {
        "input_ids": ids,
        "attention_mask": padded([torch.ones(len(p + c)).long() for p, c in rows]),
        "completion_mask": padded([torch.tensor([0] * len(p) + [1] * len(c)) for p, c in rows]),
    }

    def fused(model: Any) -> Any:
        """A forward pass with TRL's output head: log-probabilities of the labels, 0 where there is none."""

        def forward(input_ids: Any, attention_mask: Any, labels: Any, **_: Any) -> Any:
            logits = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, :-1]
            taken = logits.log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0]
            chosen = taken * (labels[:, 1:] != -100)
            zeros = torch.zeros_like(chosen)
            return SimpleNamespace(log_probs=chosen, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())

        return forward

    trainer = trl_trainer("dpo", ObjectiveConfig())
    trainer.accelerator.device = torch.device("cpu")
    vars(trainer).update(
        beta=0.3, loss_types=["sigmoid"], loss_weights=[1.0], ld_alpha=None, precompute_ref_logps=False,
        f_divergence_type="reverse_kl", use_weighting=False, ref_model=fused(reference), label_smoothing=0.0,
        _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    trainer.model = model
    trainer.args.gradient_checkpointing_kwargs = None
    theirs = DPOTrainer._compute_loss(trainer, fused(model), inputs, return_outputs=False)
    theirs.backward()
    expected = gradients(model)

    total, own, accuracy = 0.0, PolicyLM(model), 0.0
    sizes = [packed_tokens(pair, (0, 1)) for pair in pairs]
    for indices in batches(sizes, budget):
        packed = pack(pairs, [Piece(i, (0, 1)) for i in indices])
        with torch.no_grad():
            ref = PolicyLM(reference)(packed).logprobs
        loss, sums = dpo_loss(own(packed).logprobs, ref, packed.sequence, beta=0.3, pairs=len(pairs))
        loss.backward()
        total += loss.item()
        accuracy += sums.correct / len(pairs)
    assert total == pytest.approx(theirs.item(), abs=1e-6)
    assert accuracy == pytest.approx(trainer._metrics["train"]["rewards/accuracies"][0])
    assert_gradients(model, expected)


def test_the_sft_loss_and_its_gradient_equal_transformers() -> None:
    """TRL's SFTTrainer takes the model's own loss: the mean over all labels of a batch."""
    model = build("qwen2").train()
    ids = padded([torch.tensor(p + c) for p, c in ROWS])
    labels = torch.full_like(ids, -100)
    for row, (prompt, completion) in enumerate(ROWS):
        labels[row, len(prompt) : len(prompt) + len(completion)] = torch.tensor(completion)
    mask = padded([torch.ones(len(p + c)).long() for p, c in ROWS])
    theirs = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    theirs.backward()
    expected = gradients(model)

    total, tokens = 0.0, sum(len(c) for _, c in ROWS)
    for pieces in micro_batches(GROUPS, 12):
        out = PolicyLM(model)(pack(GROUPS, pieces))
        loss, _ = sft_loss(out.logprobs, out.entropy, tokens=tokens)
        loss.backward()
        total += loss.item()
    assert total == pytest.approx(theirs.item(), abs=1e-6)
    assert_gradients(model, expected)


STRATEGY = Strategy(TrainerConfig(accelerator="cpu"), ALONE)


def test_a_step_as_published_equals_trl() -> None:
    """From rewards to the gradient, with a group that ties: TRL trains it by the KL penalty alone."""
    objective = ObjectiveConfig(kl=0.04, aggregate="token", kl_on_ties=True)
    rollout = SamplingConfig(n=3, temperature=0.7, max_tokens=MAX_TOKENS)
    grpo = GrpoConfig(objective=objective, rollout=rollout, tokens_per_microbatch=12)
    rewards = torch.tensor([[1.0, 0.0, 0.5], [0.25, 0.25, nan]], dtype=torch.float64)
    groups = tuple(
        Group("", g.prompt, "", tuple(Completion(c, "", (0.0,) * len(c), "eos") for c in g.completions), ())
        for g in GROUPS
    )
    advantages = group_advantages(rewards, objective)
    trained = trained_groups(rewards, rewards, variance_floor=None)
    assert trained.tolist() == [True, False]
    policy = PolicyLM(build("qwen2"), temperature=rollout.temperature).train()
    reference = Reference(PolicyLM(build("qwen2"), temperature=rollout.temperature), STRATEGY)
    with torch.no_grad():
        for parameter in reference.copy.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))

    model = policy.model
    inputs = trl_inputs(model, ObjectiveConfig())
    inputs["advantages"] = torch.cat([advantages[0], advantages[1, :2]]).float()
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    with torch.no_grad():
        keep = inputs["completion_ids"].shape[1]
        inputs["old_per_token_logps"] = plain(model, ids, mask, keep, 0.7)[0]
        inputs["ref_per_token_logps"] = plain(reference.copy.model, ids, mask, keep, 0.7)[0]
    theirs = GRPOTrainer._compute_loss(trl_trainer("bnpo", objective, 0.7), model, inputs)
    theirs.backward()
    expected = gradients(model)

    batch = training_batch(Rollout(groups, rewards, rewards, advantages, trained), grpo)
    (sums,) = gradient_passes(policy, batch, grpo, reference, lambda loss, _: loss.backward(), ALONE)
    assert sums.means()["loss"] == pytest.approx(theirs.item(), abs=1e-6)
    assert_gradients(model, expected)


def test_the_weight_is_the_ratio_of_what_was_sampled_from() -> None:
    """Two words.  The trainer's logits are log 4, log 1, the engine's log 1, log 1.

    At temperature 1/2 their probabilities are 16/17, 1/17 and 1/2, 1/2, so that the weights are
    min(32/17, 3/2) = 3/2 and 2/17; at temperature 1 they would be 8/5 (3/2) and 2/5.
    """
    tokens, engine = choose(
        torch.zeros(2, 2),
        torch.full((2,), 0.5),
        torch.ones(2),
        torch.tensor([0.25, 0.75], dtype=torch.float64),
    )
    assert tokens.tolist() == [0, 1]
    own = chunked_logprobs(
        torch.tensor([[log(4.0)], [log(4.0)]]), torch.tensor([[1.0], [0.0]]), tokens, temperature=0.5
    ).logprobs
    for perturbed, expected in ((engine, [3 / 2, 2 / 17]), (own, [1.0, 1.0])):
        logprobs = own.clone().requires_grad_()
        loss, sums = policy_loss(
            LossInputs(logprobs, own, torch.ones(2), torch.tensor([0, 1]), engine_logprobs=perturbed),
            ObjectiveConfig(tis_cap=1.5),
            normalizer=1,
        )
        loss.backward()  # d loss / d logp = -A x weight
        torch.testing.assert_close(logprobs.grad, -torch.tensor(expected), rtol=1e-6, atol=0)
        assert sums.means()["tis_weight"] == pytest.approx(sum(expected) / 2)
