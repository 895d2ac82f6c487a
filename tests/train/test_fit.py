"""Fitting a value model: it learns, and neither micro-batches, kills nor the split by problem change that."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from restrl.config import TrainerConfig, VmConfig
from restrl.errors import UserError
from restrl.model.value import decoder_and_score
from restrl.objective.tree_packing import TokenTree
from restrl.records import ValueTarget
from restrl.train.fit import FitResult, fit_value_model
from restrl.train.value_data import (
    epoch_schedule,
    split_targets,
    target_trees,
    target_weights,
    weighted_mean,
)
from restrl.train.value_module import ValueModule

GOOD = 5  # a state is worth the share of this token in it


def value_model(labels: int = 1, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, num_labels=labels, pad_token_id=0, **changes,
    )  # fmt: skip
    model = LlamaForSequenceClassification(config)
    torch.nn.init.zeros_(model.score.weight)
    return model.eval()


def tree_targets(problem: int) -> list[ValueTarget]:
    """Six programs of six tokens that share beginnings, and every prefix of them."""
    draw = random.Random(problem)
    stem = [draw.choice((GOOD, 3, 4)) for _ in range(3)]
    found: dict[tuple[int, ...], ValueTarget] = {}
    for _ in range(6):
        ids = (*stem[: draw.randint(0, 3)], *(draw.choice((GOOD, 3, 4)) for _ in range(6)))[:6]
        for k in range(1, 7):
            state = ids[:k]
            value = state.count(GOOD) / k
            found[state] = ValueTarget(f"p{problem}", (1, 2), state, value, 1 + 6 // k, k == 6, k)
    return list(found.values())


TARGETS = [target for problem in range(12) for target in tree_targets(problem)]
FAMILIES = {f"p{i}": f"f{i // 2}" for i in range(12)}


def vm(**changes: Any) -> VmConfig:
    settings: dict[str, Any] = {
        "lr": 1e-2, "head_lr": 1e-2, "problems_per_step": 3, "tokens_per_microbatch": 60, "epochs": 2,
        "checkpoint_every": 2, "heldout_fraction": 0.34, "warmup_steps": 1, "head_init": "zero",
    }  # fmt: skip
    return VmConfig(**(settings | changes))


def mse(targets: Any, values: Any, constant: float) -> dict[str, float]:
    def mean(predicted: list[float]) -> float:
        return sum((p - t.value) ** 2 for p, t in zip(predicted, targets, strict=True)) / len(targets)

    return {"mse": mean(list(values)), "mse_constant": mean([constant] * len(targets))}


def run(
    folder: Path,
    model: Any = None,
    report: Any = mse,
    targets: Any = TARGETS,
    trainer: TrainerConfig | None = None,
    signature: str = "toy",
    **changes: Any,
) -> Any:
    model = model if model is not None else value_model()
    result = fit_value_model(
        model=model,
        targets=targets,
        families=FAMILIES,
        vm=vm(**changes),
        trainer=trainer if trainer is not None else TrainerConfig(accelerator="cpu"),
        folder=folder,
        seed=0,
        signature=signature,
        report=report,
    )
    return model, result


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)


def timeless(result: FitResult) -> list[dict[str, float]]:
    skipped = ("seconds", "tokens_per_second")
    return [{k: v for k, v in row.items() if k not in skipped} for row in result.metrics]


@pytest.mark.parametrize("labels", [1, 2])
@pytest.mark.parametrize("weight", ["none", "visits"])
def test_it_beats_the_constant_on_problems_it_never_saw(tmp_path: Path, labels: int, weight: str) -> None:
    _, result = run(tmp_path, value_model(labels), epochs=12, weight=weight)
    first, last = result.metrics[2], result.metrics[-1]  # 8 problems, 3 steps per epoch
    assert last["heldout_mse"] < 0.4 * last["heldout_mse_constant"]
    assert last["heldout_mse"] < first["heldout_mse"]
    assert [row["step"] for row in result.metrics if "heldout_mse" in row] == list(range(3, 37, 3))
    found = mse(result.heldout, result.predictions, result.constant)
    assert found["mse"] == pytest.approx(last["heldout_mse"], abs=1e-6)
    assert all(0 <= value <= 1 for value in result.predictions)


def test_no_family_is_on_both_sides() -> None:
    split = split_targets(TARGETS, FAMILIES, 0.34, seed=0)
    sides = [{FAMILIES[t.task_id] for t in side} for side in (split.fit, split.heldout)]
    assert [len(side) for side in sides] == [4, 2]  # round(0.34 x 6) = 2 of 6 families
    assert not sides[0] & sides[1]
    assert len(split.fit) + len(split.heldout) == len(TARGETS)
    assert split == split_targets(TARGETS, FAMILIES, 0.34, seed=0)
    held = {tuple(t.task_id for t in split_targets(TARGETS, FAMILIES, 0.34, s).heldout) for s in range(5)}
    assert len(held) > 1


def test_a_problem_without_a_family_is_its_own() -> None:
    split = split_targets(TARGETS, {f"p{i}": "" for i in range(6)}, 0.5, seed=0)
    assert {t.task_id for t in split.fit}.isdisjoint(t.task_id for t in split.heldout)
    assert len({t.task_id for t in split.heldout}) == 6


def test_one_family_cannot_be_split() -> None:
    with pytest.raises(UserError, match="the value targets are of 1 family of problems, and fitting needs"):
        split_targets(TARGETS, {f"p{i}": "f" for i in range(12)}, 0.5, seed=0)


def test_weights_and_the_constant() -> None:
    targets = [ValueTarget("p", (1,), (i,), v, n, False, 1) for i, (v, n) in enumerate([(1.0, 16), (0.0, 9)])]
    assert target_weights(targets, "none") == [1.0, 1.0]
    assert target_weights(targets, "sqrt_visits") == [4.0, 3.0]
    assert target_weights(targets, "visits") == [16.0, 9.0]
    assert weighted_mean(targets, "none") == 0.5
    assert weighted_mean(targets, "visits") == 16 / 25


def test_the_loss_of_a_step_by_hand(tmp_path: Path) -> None:
    """A head of zeros predicts 0, so that the first loss is the weighted mean of the squared targets."""
    _, result = run(tmp_path, epochs=1, problems_per_step=99, weight="sqrt_visits")
    fit = result.split.fit
    total = sum(math.sqrt(t.visits) for t in fit)
    expected = sum(math.sqrt(t.visits) * t.value**2 for t in fit) / total
    assert result.metrics[0]["mse"] == pytest.approx(expected, rel=1e-5)
    assert result.metrics[0]["states"] == len(fit)


def test_the_gradient_does_not_depend_on_the_micro_batches(tmp_path: Path) -> None:
    found = []
    for budget in (10_000, 25, 1):
        model = value_model()
        torch.manual_seed(1)
        torch.nn.init.normal_(model.score.weight, std=0.1)
        trees = target_trees(TARGETS, 64)[:3]
        module = ValueModule(model, trees, [], vm(tokens_per_microbatch=budget), tmp_path, 1, 0.0, mse)
        module.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign]
        module.optimizers = lambda: None  # type: ignore[method-assign]
        module.apply_update = lambda *_: 0.0  # type: ignore[method-assign]
        numbers = module._learn(trees)
        found.append((numbers["mse"], {n: p.grad for n, p in model.named_parameters()}, numbers["tokens"]))
    assert found[0][2] < found[1][2] < found[2][2]  # they are really cut
    for loss, gradient, _ in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        for name, expected in found[0][1].items():
            torch.testing.assert_close(gradient[name], expected, rtol=1e-4, atol=1e-6)


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    def model() -> Any:
        return value_model(attention_dropout=0.2)

    class PowerCut:
        calls = 0

        def __call__(self, *args: Any) -> dict[str, float]:
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("power cut")
            return mse(*args)

    whole, expected = run(tmp_path / "whole", model())
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", model(), report=PowerCut())
    torch.manual_seed(99)  # whatever the new process does first
    again, result = run(tmp_path / "cut", model())
    assert result.resumed_from == 4
    assert_same(weights(again), weights(whole))
    assert timeless(result) == timeless(expected)
    assert result.predictions == expected.predictions


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match="belongs to a run with other settings"):
        run(tmp_path, signature="another")
    _, result = run(tmp_path, tokens_per_microbatch=7)  # how a step is cut does not matter
    assert result.resumed_from == 6


def test_terminal_targets_make_an_orm(tmp_path: Path) -> None:
    config = vm(epochs=1, targets="terminal")
    result = fit_value_model(
        model=value_model(), targets=TARGETS, families=FAMILIES, vm=config, report=mse, seed=0, signature="",
        trainer=TrainerConfig(accelerator="cpu"), folder=tmp_path / "orm",
    )  # fmt: skip
    assert {t.terminal for t in (*result.split.fit, *result.heldout)} == {True}
    with pytest.raises(UserError, match=r"vm.targets=terminal: there are no terminal value targets"):
        fit_value_model(
            model=value_model(), targets=[t for t in TARGETS if not t.terminal], families=FAMILIES,
            vm=config, report=mse, seed=0, signature="", trainer=TrainerConfig(accelerator="cpu"),
            folder=tmp_path / "none",
        )  # fmt: skip


def test_decoder_and_head_have_rates_of_their_own(tmp_path: Path) -> None:
    model, _ = run(tmp_path, lr=1e-30, head_lr=1e-2, epochs=1)
    untouched = weights(value_model())
    moved = {n for n, p in weights(model).items() if (p - untouched[n]).abs().max() > 1e-6}
    assert moved == {"score.weight"}


def test_rates_warm_up_and_go_down(tmp_path: Path) -> None:
    module = ValueModule(value_model(), [], [], vm(warmup_steps=1, lr=1.0, head_lr=2.0), tmp_path, 4, 0, mse)
    rates = []
    for module.updates in range(4):
        rates.append(module._rates())
    # min(1, (u + 1) / 2) x (1 - u / 4)
    # the decoder's matrices, its norms and biases, then those of the head
    assert rates == [[0.5, 0.5, 1, 1], [0.75, 0.75, 1.5, 1.5], [0.5, 0.5, 1, 1], [0.25, 0.25, 0.5, 0.5]]


def test_the_schedule_sees_every_tree_once_per_epoch() -> None:
    schedule = epoch_schedule(10, 4, 2, seed=0)
    assert [len(step) for step in schedule] == [3, 3, 4, 3, 3, 4]
    epochs = [[index for step in schedule[k : k + 3] for index in step] for k in (0, 3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert schedule[:3] != schedule[3:]
    assert epoch_schedule(10, 4, 2, seed=0) == schedule != epoch_schedule(10, 4, 2, seed=1)


def test_targets_become_trees() -> None:
    targets = [
        ValueTarget("a", (1, 2), (3,), 0.1, 1, False, 1),
        ValueTarget("b", (1, 2), (3,), 0.2, 1, False, 1),
        ValueTarget("a", (1, 2), (4,), 0.3, 1, True, 1),
    ]
    trees = target_trees(targets, 64)
    assert [tree.tree for tree in trees] == [TokenTree((1, 2), ((3,), (4,))), TokenTree((1, 2), ((3,),))]
    assert [[t.value for t in tree.targets] for tree in trees] == [[0.1, 0.3], [0.2]]


def test_the_head_is_found() -> None:
    assert decoder_and_score(value_model())[1].weight.shape == (1, 16)
