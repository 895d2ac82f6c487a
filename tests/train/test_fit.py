"""Fitting a value model: it learns, and neither micro-batches, kills nor the split by problem change that."""

from __future__ import annotations

import dataclasses
import math
import random
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from restrl.config import TrainerConfig, VmConfig
from restrl.errors import UserError
from restrl.model.value import decoder_and_score
from restrl.model.value_lm import ValueLM
from restrl.objective.tree_packing import token_trees
from restrl.ranks import ALONE, Ranks
from restrl.search.saved import SavedTree
from restrl.train.fit import FitResult, fit_value_model
from restrl.train.strategy import Strategy
from restrl.train.value_data import (
    ValueProblems,
    epoch_schedule,
    split_problems,
    target_trees,
    target_weights,
)
from restrl.train.value_module import ValueModule
from tests.train.targets import Collected, Target

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


def tree_targets(problem: int) -> list[Target]:
    """Six programs of six tokens that share beginnings, and every prefix of them."""
    draw = random.Random(problem)
    stem = [draw.choice((GOOD, 3, 4)) for _ in range(3)]
    found: dict[tuple[int, ...], Target] = {}
    for _ in range(6):
        ids = (*stem[: draw.randint(0, 3)], *(draw.choice((GOOD, 3, 4)) for _ in range(6)))[:6]
        for k in range(1, 7):
            state = ids[:k]
            value = state.count(GOOD) / k
            found[state] = Target(state, value, 1 + 6 // k, k == 6, k)
    return list(found.values())


COLLECTED = Collected()
for _problem in range(12):
    COLLECTED.add(f"p{_problem}", (1, 2), tree_targets(_problem))
TASKS = [f"p{i}" for i in range(12)]
FAMILIES = {f"p{i}": f"f{i // 2}" for i in range(12)}


def vm(**changes: Any) -> VmConfig:
    settings: dict[str, Any] = {
        "lr": 1e-2, "head_lr": 1e-2, "problems_per_step": 3, "tokens_per_microbatch": 60, "epochs": 2,
        "checkpoint_every": 2, "heldout_fraction": 0.34, "warmup_steps": 1, "head_init": "zero",
    }  # fmt: skip
    return VmConfig(**(settings | changes))


def mse(states: Any, predicted: Any, constant: float) -> dict[str, float]:
    return {
        "mse": float(((predicted - states.values) ** 2).mean()),
        "mse_constant": float(((constant - states.values) ** 2).mean()),
    }


def run(
    folder: Path,
    model: Any = None,
    report: Any = mse,
    collected: Any = None,
    trainer: TrainerConfig | None = None,
    signature: str = "toy",
    ranks: Ranks = ALONE,
    **changes: Any,
) -> Any:
    model = model if model is not None else value_model()
    result = fit_value_model(
        model=model,
        trees=(collected or COLLECTED).trees,
        targets=(collected or COLLECTED).targets,
        families=FAMILIES,
        vm=vm(**changes),
        trainer=trainer if trainer is not None else TrainerConfig(accelerator="cpu"),
        folder=folder,
        seed=0,
        signature=signature,
        report=report,
        ranks=ranks,
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
    split = split_problems(TASKS, FAMILIES, 0.34, seed=0)
    sides = [{FAMILIES[TASKS[i]] for i in side} for side in (split.fit, split.heldout)]
    assert [len(side) for side in sides] == [4, 2]  # round(0.34 x 6) = 2 of 6 families
    assert not sides[0] & sides[1]
    assert sorted(split.fit + split.heldout) == list(range(12))
    assert split == split_problems(TASKS, FAMILIES, 0.34, seed=0)
    assert len({split_problems(TASKS, FAMILIES, 0.34, seed).heldout for seed in range(5)}) > 1


def test_a_problem_without_a_family_is_its_own() -> None:
    split = split_problems(TASKS, {f"p{i}": "" for i in range(6)}, 0.5, seed=0)
    assert len(split.heldout) == 6
    assert not set(split.fit) & set(split.heldout)


def test_a_problem_without_states_is_on_no_side() -> None:
    split = split_problems(["a", "", "b", "c"], {}, 0.3, seed=0)
    assert sorted(split.fit + split.heldout) == [0, 2, 3]


def test_one_family_cannot_be_split() -> None:
    with pytest.raises(UserError, match="the value targets are of 1 family of problems, and fitting needs"):
        split_problems(TASKS, dict.fromkeys(TASKS, "f"), 0.5, seed=0)


def test_weights_and_the_constant() -> None:
    states = [Target((1,), 1.0, 16, True), Target((2,), 0.0, 9), Target((3,), 0.5, 25)]
    made = Collected().add("p", (1,), states)
    expected = {
        "none": [1, 1, 1], "sqrt_visits": [4, 3, 5], "visits": [16, 9, 25],
        "samples": [16, 1, 1],  # a program sampled 16 times is 16 rows, any other state is one
    }  # fmt: skip
    for weight, numbers in expected.items():
        assert target_weights(made.targets[0], range(3), weight).tolist() == numbers
        problems = ValueProblems(made.trees, made.targets, vm(weight=weight))
        mean = (numbers[0] + numbers[2] / 2) / sum(numbers)
        assert problems.weighted_mean([0]) == (3, pytest.approx(mean))


def test_the_rows_of_the_original_are_its_weights(tmp_path: Path) -> None:
    """A program that was sampled n times is the same as n rows of it."""
    twice = [Target((GOOD, 3), 0.9, 2, True), Target((3,), 0.1, 5), Target((GOOD,), 0.4, 3)]
    rows = [Target((GOOD, 3), 0.9, 1, True), Target((GOOD, 3), 0.9, 1, True), *twice[1:]]
    found = []
    for states, weight in ((twice, "samples"), (rows, "none")):
        made = Collected().add("a", (1, 2), states).add("b", (1, 2), states)
        model = value_model(2)
        fit_value_model(
            model=model, trees=made.trees, targets=made.targets, families={}, vm=vm(weight=weight, epochs=1),
            trainer=TrainerConfig(accelerator="cpu"), folder=tmp_path / weight, seed=0, signature="",
            report=lambda *_: {},
        )  # fmt: skip
        found.append(weights(model))
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-5, atol=1e-6)


def test_the_loss_of_a_step_by_hand(tmp_path: Path) -> None:
    """A head of zeros predicts 0, so that the first loss is the weighted mean of the squared targets."""
    _, result = run(tmp_path, epochs=1, problems_per_step=99, weight="sqrt_visits")
    fit = [target for problem in result.split.fit for target in tree_targets(problem)]
    total = sum(math.sqrt(t.visits) for t in fit)
    expected = sum(math.sqrt(t.visits) * t.value**2 for t in fit) / total
    assert result.metrics[0]["mse"] == result.metrics[0]["loss"] == pytest.approx(expected, rel=1e-5)
    assert result.metrics[0]["states"] == result.fit_states == len(fit)


def test_two_outputs_start_at_the_cross_entropy_of_a_coin(tmp_path: Path) -> None:
    """A head of zeros says 1/2 of every state: log 2, whatever the targets."""
    _, result = run(tmp_path, value_model(2), epochs=1, problems_per_step=99)
    assert result.metrics[0]["loss"] == pytest.approx(math.log(2))
    assert result.metrics[0]["mse"] < 0.25


def module_of(model: Any, problems: ValueProblems, folder: Path, steps: int) -> ValueModule:
    strategy = Strategy(TrainerConfig(accelerator="cpu"), ALONE)
    return ValueModule(
        ValueLM(model), problems, [], problems.vm, 0.0, mse, strategy=strategy, folder=folder,
        total_steps=steps, signature="toy",
    )  # fmt: skip


def test_the_gradient_does_not_depend_on_the_micro_batches(tmp_path: Path) -> None:
    found = []
    for budget in (10_000, 25, 1):
        model = value_model()
        torch.manual_seed(1)
        torch.nn.init.normal_(model.score.weight, std=0.1)
        problems = ValueProblems(COLLECTED.trees, COLLECTED.targets, vm(tokens_per_microbatch=budget))
        trees = [tree for index in range(3) for tree in problems.read(index)]
        module = module_of(model, problems, tmp_path, 1)
        module.accumulate = lambda loss, last: loss.backward()  # type: ignore[method-assign]  # noqa: ARG005
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
    assert result.predictions.tolist() == expected.predictions.tolist()


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match="belongs to a run with other settings"):
        run(tmp_path, signature="another")
    _, result = run(tmp_path, tokens_per_microbatch=7)  # how a step is cut does not matter
    assert result.resumed_from == 6


def test_terminal_targets_make_an_orm(tmp_path: Path) -> None:
    _, result = run(tmp_path / "orm", epochs=1, targets="terminal")
    assert set(result.heldout.terminal) == {True}
    whole = [sum(target.terminal for target in tree_targets(problem)) for problem in range(12)]
    assert result.fit_states == sum(whole[problem] for problem in result.split.fit)
    unfinished = Collected().add("a", (1,), [Target((1,), 0.5)])
    with pytest.raises(UserError, match=r"vm.targets=terminal: there are no terminal value targets"):
        fit_value_model(
            model=value_model(), trees=unfinished.trees, targets=unfinished.targets, families={}, seed=0,
            vm=vm(targets="terminal"), trainer=TrainerConfig(accelerator="cpu"), folder=tmp_path / "none",
            signature="", report=mse,
        )  # fmt: skip


def test_decoder_and_head_have_rates_of_their_own(tmp_path: Path) -> None:
    model, _ = run(tmp_path, lr=1e-30, head_lr=1e-2, epochs=1)
    untouched = weights(value_model())
    moved = {n for n, p in weights(model).items() if (p - untouched[n]).abs().max() > 1e-6}
    assert moved == {"score.weight"}


def test_rates_warm_up_and_go_down(tmp_path: Path) -> None:
    config = vm(warmup_steps=1, lr=1.0, head_lr=2.0)
    module = module_of(value_model(), ValueProblems([], [], config), tmp_path, 4)
    rates = []
    for module.updates in range(4):
        rates.append(module._rates())
    # min(1, (u + 1) / 2) x (1 - u / 4)
    # of the decoder, then of the head
    assert rates == [[0.5, 1], [0.75, 1.5], [0.5, 1], [0.25, 0.5]]


def test_the_schedule_sees_every_tree_once_per_epoch() -> None:
    schedule = epoch_schedule(10, 4, 2, seed=0)
    assert [len(step) for step in schedule] == [3, 3, 4, 3, 3, 4]
    epochs = [[index for step in schedule[k : k + 3] for index in step] for k in (0, 3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert schedule[:3] != schedule[3:]
    assert epoch_schedule(10, 4, 2, seed=0) == schedule != epoch_schedule(10, 4, 2, seed=1)


def test_targets_become_trees() -> None:
    states = [Target((3,), 0.1), Target((4, 5), 0.3, 4, True), Target((), 0.2)]
    made = Collected().add("a", (1, 2), states)
    (found,) = target_trees(made.trees[0], made.targets[0], [0, 1, 2], vm(weight="visits"))
    assert (found.tree.prompt, tuple(found.tree.states)) == ((1, 2), ((3,), (4, 5), ()))
    assert (found.values.tolist(), found.weights.tolist()) == ([0.1, 0.3, 0.2], [1.0, 4.0, 1.0])


def test_a_long_state_shortens_its_prompt_alone() -> None:
    """As in ``token_trees``, where each state has its own copy of prompt and tokens."""
    draw = random.Random(0)
    states = [Target(tuple(draw.randrange(9) for _ in range(n)), 0.5) for n in (2, 30, 300, 6, 31, 200)]
    prompt = tuple(range(100, 200))
    made = Collected().add("a", prompt, states)
    found = target_trees(made.trees[0], made.targets[0], range(6), vm(max_tokens=120))
    trees, members = token_trees([(prompt, state.ids) for state in states], 120)
    assert len(found) > 1
    assert [(t.tree.prompt, tuple(t.tree.states)) for t in found] == [(t.prompt, t.states) for t in trees]
    assert [tuple(t.places) for t in found] == members


def test_held_out_states_know_their_parents() -> None:
    states = [
        Target((3,), 0.1),
        Target((3, 4), 0.3, 1, True, 2, parent=0),
        Target((3, 5), 0.2, 1, True, 2, 0),
    ]
    made = Collected().add("a", (1,), states).add("b", (1,), states)
    table = ValueProblems(made.trees, made.targets, vm()).table([1, 0])
    assert (table.tasks, table.problem.tolist()) == (("b", "a"), [0, 0, 0, 1, 1, 1])
    assert table.parent.tolist() == [-1, 0, 0, -1, 3, 3]
    whole = ValueProblems(made.trees, made.targets, vm(targets="terminal")).table([0])
    assert (whole.values.tolist(), whole.parent.tolist()) == ([0.3, 0.2], [-1, -1])


def test_the_head_is_found() -> None:
    assert decoder_and_score(value_model())[1].weight.shape == (1, 16)


def test_no_more_trees_are_in_memory_than_a_step_needs(tmp_path: Path) -> None:
    """Of twelve trees, wherever one is read: for training, the ridge, the reports and the predictions."""

    class Watched(SavedTree):
        """A tree that weak references can see."""

    class OnDisk(Sequence):
        most = 0

        def __init__(self) -> None:
            self.made: list[weakref.ref] = []

        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: Any) -> Any:
            tree = COLLECTED.trees[index]
            copied = Watched(**{f.name: getattr(tree, f.name) for f in dataclasses.fields(tree)})
            self.made.append(weakref.ref(copied))
            self.most = max(self.most, sum(reference() is not None for reference in self.made))
            return copied

    trees = OnDisk()
    result = fit_value_model(
        model=value_model(), trees=trees, targets=COLLECTED.targets, families=FAMILIES,
        vm=vm(head_init="ridge"), trainer=TrainerConfig(accelerator="cpu"), folder=tmp_path, seed=0,
        signature="", report=mse,
    )  # fmt: skip
    assert len(trees.made) > 24  # read again for each purpose
    assert 1 <= trees.most <= 3  # problems_per_step
    _, expected = run(tmp_path / "held", head_init="ridge")
    assert result.predictions.tolist() == expected.predictions.tolist()
