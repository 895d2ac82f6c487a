"""The training loop on a toy that learns in a second; reward = share of one token."""

import dataclasses
import gc
import json
import math
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from restrl.config import ModelConfig, ObjectiveConfig, PathsConfig, SamplingConfig, TrainerConfig
from restrl.errors import UserError
from restrl.model.load import load_model
from restrl.records import Completion, StartState
from restrl.train.checkpoint import remove_checkpoints
from tests.train.toy import STATES, ToyEngine, ToyJudge, run, tiny_model, toy_grpo


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def numbers(rows: Any) -> list[dict[str, float]]:
    """Rows without what depends on the clock."""
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


def test_the_policy_learns_what_the_judge_pays_for(tmp_path: Path) -> None:
    _, result = run(tmp_path, max_steps=40, checkpoint_every=100)
    rewards = [row["reward"] for row in result.metrics]
    assert sum(rewards[:5]) / 5 < 0.2  # one token in twelve
    assert sum(rewards[-5:]) / 5 > 0.8


@pytest.mark.parametrize(
    "changes",
    [
        {"kl": 0.01},
        {"aggregate": "token", "clip_high": 0.28},
        {"advantage": "group_mean", "aggregate": "constant"},
        {"advantage": "leave_one_out", "ratio": "sequence", "tis_cap": 2.0},
    ],
    ids=str,
)
def test_it_learns_under_every_objective(tmp_path: Path, changes: dict[str, Any]) -> None:
    objective = ObjectiveConfig(**changes)
    _, result = run(tmp_path, objective=objective, max_steps=25, updates_per_step=2, checkpoint_every=100)
    rewards = [row["reward"] for row in result.metrics]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.2


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, expected = run(tmp_path / "whole", objective=ObjectiveConfig(kl=0.01), updates_per_step=2)

    class Failing(ToyJudge):
        def judge(self, items: Any) -> Any:
            if self.calls == 4:
                raise RuntimeError("power cut")
            return super().judge(items)

    settings: dict[str, Any] = {"objective": ObjectiveConfig(kl=0.01), "updates_per_step": 2}
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", judge=Failing(), **settings)
    torch.manual_seed(99)  # whatever the new process does first
    again, result = run(tmp_path / "cut", **settings)
    assert result.resumed_from == 4
    assert_same(weights(again), weights(whole))
    assert numbers(result.metrics) == numbers(expected.metrics)
    assert result.updates == expected.updates


def test_resume_restores_dropout(tmp_path: Path) -> None:
    def model() -> Any:
        return tiny_model(attention_dropout=0.3)

    whole, _ = run(tmp_path / "whole", model())
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", model(), judge=Interrupting(RuntimeError("power cut"), 4))
    again, _ = run(tmp_path / "cut", model())
    assert_same(weights(again), weights(whole))


class Interrupting(ToyJudge):
    def __init__(self, error: BaseException, call: int) -> None:
        super().__init__()
        self.error, self.call = error, call

    def judge(self, items: Any) -> Any:
        if self.calls == self.call:
            raise self.error
        return super().judge(items)


def test_a_keyboard_interrupt_saves_the_last_whole_step_and_goes_on(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", judge=Interrupting(KeyboardInterrupt(), 3), checkpoint_every=100)
    assert signal.getsignal(signal.SIGINT) is before
    again, result = run(tmp_path / "cut")
    assert result.resumed_from == 3  # steps 1 to 3 were whole
    assert_same(weights(again), weights(whole))


def test_sigterm_saves_the_step_that_was_running(tmp_path: Path) -> None:
    class Terminating(ToyJudge):
        def judge(self, items: Any) -> Any:
            if self.calls == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().judge(items)

    whole, _ = run(tmp_path / "whole")
    with pytest.raises(SystemExit) as end:
        run(tmp_path / "cut", judge=Terminating(), checkpoint_every=100)
    assert end.value.code == 143
    again, result = run(tmp_path / "cut")
    assert result.resumed_from == 3
    assert_same(weights(again), weights(whole))


def test_a_training_leaves_no_signal_handler_and_no_trainer_behind(tmp_path: Path) -> None:
    """Lightning's handler of SIGTERM would ignore it from then on, and keep the model in memory."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    trained = weakref.ref(run(tmp_path)[0])
    assert [signal.getsignal(number) for number in numbers] == before
    gc.collect()
    assert trained() is None


SCRIPT = """
import sys, time, pathlib
from tests.train.toy import run, ToyJudge
class Slow(ToyJudge):
    def judge(self, items):
        if self.calls == 5:
            print("waiting", flush=True); time.sleep(60)
        return super().judge(items)
run(pathlib.Path(sys.argv[1]), judge=Slow())
"""


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "cut")],
        stdout=subprocess.PIPE, text=True,
        # one thread, as here: another number of them rounds differently
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    while "waiting" not in process.stdout.readline():
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait()
    again, result = run(tmp_path / "cut")
    whole, expected = run(tmp_path / "whole")
    assert result.resumed_from == 4
    assert_same(weights(again), weights(whole))
    assert numbers(result.metrics) == numbers(expected.metrics)


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, damage: str) -> None:
    whole, _ = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", judge=Interrupting(RuntimeError("power cut"), 5))
    files = sorted((tmp_path / "cut" / "checkpoints").iterdir())
    assert [f.name for f in files] == ["step-000002.ckpt", "step-000004.ckpt"]
    content = bytearray(files[1].read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 0xFF
    files[1].write_bytes(content)
    with pytest.warns(UserWarning, match=r"step-000004.ckpt is damaged and passed over"):
        again, result = run(tmp_path / "cut")
    assert result.resumed_from == 2
    assert_same(weights(again), weights(whole))


def test_the_last_two_checkpoints_are_kept_until_they_are_removed(tmp_path: Path) -> None:
    run(tmp_path)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-000004.ckpt", "step-000006.ckpt"]
    remove_checkpoints(tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    trained, first = run(tmp_path)
    judge = ToyJudge()
    again, second = run(tmp_path, judge=judge)
    assert judge.calls == 0
    assert_same(weights(again), weights(trained))
    assert second.metrics == first.metrics
    assert second.cost == first.cost


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UserError, match="belongs to a run with other settings; remove"):
        run(tmp_path, signature="another")
    _, result = run(tmp_path, tokens_per_microbatch=10)  # how a step is cut does not matter
    assert result.resumed_from == 6


def test_the_update_does_not_depend_on_the_micro_batches(tmp_path: Path) -> None:
    together, _ = run(tmp_path / "8x1", max_steps=1, tokens_per_microbatch=1000)
    apart, _ = run(tmp_path / "1x8", max_steps=1, tokens_per_microbatch=1)
    for name, weight in weights(together).items():
        # Adam's first step is lr x sign(gradient), so compare where the gradient is not rounding noise
        torch.testing.assert_close(weights(apart)[name], weight, rtol=0, atol=1e-4)


def test_groups_without_variance_leave_the_policy_untouched(tmp_path: Path) -> None:
    class Constant(ToyJudge):
        def _one(self, program: str) -> Any:
            return dataclasses.replace(super()._one(program), reward=0.5)

    model = tiny_model()
    before = weights(model)
    _, result = run(tmp_path, model, judge=Constant(), max_steps=2, objective=ObjectiveConfig(kl=0.1))
    assert_same(weights(model), before)  # although the bonus differs and KL has a weight
    assert result.updates == 0
    assert [row["zero_variance"] for row in result.metrics] == [1, 1]


def test_unjudged_completions_are_counted_and_not_trained(tmp_path: Path) -> None:
    model = tiny_model()
    before = weights(model)
    _, result = run(tmp_path, model, judge=ToyJudge(unjudged=""), max_steps=1)
    assert_same(weights(model), before)
    assert result.metrics[0]["harness_errors"] == 8
    assert result.metrics[0]["reward"] == 0


def test_dynamic_sampling_replaces_groups_without_variance(tmp_path: Path) -> None:
    class OnlyOne(ToyJudge):
        """Varied rewards only for the program that begins with the state's code."""

        def _one(self, program: str) -> Any:
            verdict = super()._one(program)
            return verdict if program.startswith("#") else dataclasses.replace(verdict, reward=0.0)

    states = [dataclasses.replace(s, code="#" if s.task_id == "p2" else "") for s in STATES]
    model = tiny_model()
    engine = ToyEngine(model)
    _, result = run(tmp_path, model, judge=OnlyOne(), engine=engine, states=states, max_steps=1,
                    prompts_per_step=1, dynamic_sampling=4)  # fmt: skip
    assert result.metrics[0]["replaced_groups"] == len(engine.requests) - 1 > 0
    assert engine.requests[-1].prompt_ids == STATES[2].prompt_ids
    assert result.metrics[0]["trained_groups"] == 1


def test_dynamic_sampling_stops_when_no_state_is_left(tmp_path: Path) -> None:
    class Zero(ToyJudge):
        def _one(self, program: str) -> Any:
            return dataclasses.replace(super()._one(program), reward=0.0)

    _, result = run(tmp_path, judge=Zero(), max_steps=1, prompts_per_step=2, dynamic_sampling=99)
    assert result.metrics[0]["replaced_groups"] == 3  # the three states that the step had not used


def test_lora_trains_adapters_only_and_takes_the_base_for_reference(tmp_path: Path) -> None:
    def model() -> Any:
        torch.manual_seed(3)
        return get_peft_model(tiny_model(), LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.1))

    policy = model()
    before = weights(policy)
    whole, result = run(tmp_path / "whole", policy, objective=ObjectiveConfig(kl=0.1), max_steps=6)
    after = weights(whole)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    assert result.metrics[-1]["kl"] > 0
    saved = torch.load(tmp_path / "whole" / "checkpoints" / "step-000006.ckpt", weights_only=True)
    assert all("lora_" in name for name in saved["state_dict"])
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", model(), judge=Interrupting(RuntimeError("power cut"), 4),
            objective=ObjectiveConfig(kl=0.1))  # fmt: skip
    again, _ = run(tmp_path / "cut", model(), objective=ObjectiveConfig(kl=0.1))
    assert_same(weights(again), after)


def test_warm_up_raises_the_learning_rate(tmp_path: Path) -> None:
    seen: list[float] = []
    step = torch.optim.AdamW.step

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", spy)
        run(tmp_path, lr=0.3, warmup_steps=2, max_steps=8)
    assert seen[:4] == pytest.approx([0.1, 0.2, 0.3, 0.3])


def test_everything_is_logged(tmp_path: Path) -> None:
    _, result = run(tmp_path, objective=ObjectiveConfig(kl=0.01), max_steps=3,
                    states=[dataclasses.replace(s, code="<script>") for s in STATES])  # fmt: skip
    wanted = {
        "reward", "reward_std", "zero_variance", "kl", "entropy", "clip_fraction", "completion_length",
        "truncated", "tokens_per_second", "seconds_sample", "seconds_judge", "seconds_loss", "seconds_update",
        "harness_errors", "logprob_mismatch",
    }  # fmt: skip
    trained = next(row for row in result.metrics if row["trained_groups"] > 0)
    assert wanted <= trained.keys()
    assert trained["logprob_mismatch_max"] < 1e-5  # the toy engine samples from the very same weights
    assert 0 < trained["entropy"] <= math.log(12)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == list(
        result.metrics
    )
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("grpo/reward")] == [1, 2, 3]
    text = events.Tensors("completions/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "&lt;script&gt;" in text
    assert "<script>" not in text


def test_temperature_reaches_engine_and_loss(tmp_path: Path) -> None:
    model = tiny_model()
    engine = ToyEngine(model)
    rollout = SamplingConfig(n=4, temperature=0.5, max_tokens=5)
    _, result = run(tmp_path, model, engine=engine, rollout=rollout, max_steps=4)
    assert {r.temperature for r in engine.requests} == {0.5}
    trained = next(row for row in result.metrics if row["trained_groups"] > 0)
    assert trained["logprob_mismatch_max"] < 1e-5  # both at the rollout's temperature


def test_an_engine_that_agrees_has_weights_of_1_at_any_temperature(tmp_path: Path) -> None:
    rollout = SamplingConfig(n=4, temperature=0.7, max_tokens=5)
    _, result = run(tmp_path, rollout=rollout, objective=ObjectiveConfig(tis_cap=2.0), max_steps=4)
    weights = [row["tis_weight"] for row in result.metrics if row["trained_groups"] > 0]
    assert weights == pytest.approx([1] * len(weights), abs=1e-5)


def test_rollouts_may_go_on_to_the_end_token(tmp_path: Path) -> None:
    completions: list[Completion] = []
    programs: list[str] = []

    class Keeping(ToyEngine):
        def generate(self, requests: Any, *args: Any) -> Any:
            samples = super().generate(requests, *args)
            completions.extend(c for some in samples for c in some)
            return samples

    class Reading(ToyJudge):
        def judge(self, items: Any) -> Any:
            programs.extend(program for program, _ in items)
            return super().judge(items)

    rollout = SamplingConfig(n=16, temperature=1.0, max_tokens=12)
    model = tiny_model()
    engine = Keeping(model)
    _, result = run(tmp_path, model, judge=Reading(), engine=engine, rollout=rollout, rollout_until="eos",
                    max_steps=1)  # fmt: skip
    assert [r.stop for r in engine.requests] == [(), ()]
    assert programs == [c.text.split("!")[0] for c in completions]  # what stands before the stop string
    assert any("!" in c.text for c in completions)
    row = result.metrics[0]
    assert row["truncated"] == sum(c.finish == "length" for c in completions) / 32 > 0
    assert row["trained_groups"] == 2
    assert row["trained_tokens"] == sum(len(c.ids) for c in completions)  # also what follows
    bonuses = [
        1e-3 - 1e-6 * (len(c.text) - c.text.index("!") - 1) if "!" in c.text else 0 for c in completions
    ]
    assert row["reward_shaped"] - row["reward"] == pytest.approx(sum(bonuses) / 32, rel=1e-9)


def test_ties_are_trained_by_the_penalty_alone_where_asked_for(tmp_path: Path) -> None:
    class Constant(ToyJudge):
        def _one(self, program: str) -> Any:
            return dataclasses.replace(super()._one(program), reward=0.5)

    objective = ObjectiveConfig(kl=0.1, kl_on_ties=True)
    _, result = run(tmp_path / "1", judge=Constant(), max_steps=1, objective=objective)
    assert (result.updates, result.metrics[0]["trained_groups"], result.metrics[0]["zero_variance"]) == (
        1,
        2,
        1,
    )
    # the policy is its reference: no penalty, and the bonus, which differs, has no advantage
    assert result.metrics[0]["loss"] == pytest.approx(0, abs=1e-7)
    assert result.metrics[0]["grad_norm"] == pytest.approx(0, abs=1e-6)
    without = dataclasses.replace(objective, kl=0.0)
    _, result = run(tmp_path / "2", judge=Constant(), max_steps=1, objective=without)
    assert result.updates == 0


def test_the_learning_rate_goes_linearly_to_0(tmp_path: Path) -> None:
    seen: list[float] = []
    step = torch.optim.AdamW.step

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    objective = ObjectiveConfig(kl=0.01, kl_on_ties=True)  # every step has something to train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", spy)
        run(tmp_path, lr=0.6, lr_schedule="linear", max_steps=3, updates_per_step=2, objective=objective)
    assert seen == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])  # 3 steps x 2 updates


def test_an_unchanged_policy_is_its_own_reference_whatever_its_dropout(tmp_path: Path) -> None:
    tiny_model(attention_dropout=0.1).save_pretrained(tmp_path / "model")
    model = load_model(ModelConfig(path=str(tmp_path / "model")), PathsConfig())
    objective = ObjectiveConfig(kl=0.04, clip_low=1e-3, clip_high=1e-3)
    _, result = run(tmp_path / "run", model, objective=objective, lr=1e-12, updates_per_step=2, max_steps=2)
    trained = [row for row in result.metrics if row["trained_groups"] > 0]
    assert trained
    for row in trained:
        assert row["kl"] == pytest.approx(0, abs=1e-8)
        assert row["clip_fraction"] == 0
        assert row["logprob_mismatch_max"] < 1e-5


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/run"):
        run(tmp_path / "file" / "run")


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*: No space left on device"):
        run(tmp_path)
    assert not list((tmp_path / "checkpoints").glob(".*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": []}, "no start state to train on"),
        ({"states": [StartState("x", (1,), "", 0, 0.1)]}, "'x' has no problem with that task_id"),
        ({"trainer": TrainerConfig(devices=2)}, "devices=2 on .*=1 are 2 processes, and 1 were started"),
        ({"trainer": TrainerConfig(strategy="nonsense")}, "trainer.strategy=nonsense"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, **changes)


@pytest.mark.parametrize(("key", "value"), [("n", 1), ("temperature", 0.0)])
def test_a_rollout_that_cannot_teach_is_refused(tmp_path: Path, key: str, value: float) -> None:
    rollout = dataclasses.replace(toy_grpo().rollout, **{key: value})
    with pytest.raises(UserError, match=f"grpo.rollout.{key} is"):
        run(tmp_path, rollout=rollout)
