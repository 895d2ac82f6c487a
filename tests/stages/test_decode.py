"""decode.py: the three files that other people's tools read, for each decoder."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path

import pytest

from tests.stages.conftest import Workplace
from tests.stages.processes import Strike, artifacts, never, timeless

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
NO_MODEL = never("restrl.stages.resources:load_model")
NO_SANDBOX = never("restrl.stages.resources:Sandbox")
COST = {"completions", "model_tokens", "verifier_calls", "scorer_calls", "seconds"}
# a program of each kind for the problems of `write_problems`, whose state ends in "return x < 3 or y"
RIGHT, HALF, BROKEN = "es\nyes = True", "es", " ("


def check_files(workplace: Workplace, samples: dict[str, int]) -> list[dict]:
    """The contract, field by field.  Returns the verdicts."""
    verdicts, answers, results = (
        workplace.lines("verdicts.jsonl"),
        workplace.lines("answers.jsonl"),
        workplace.results(),
    )
    wanted = [(task_id, sample) for task_id, n in samples.items() for sample in range(n)]
    for rows in (verdicts, answers):
        assert [(row["task_id"], row["sample"]) for row in rows] == wanted
    for row in verdicts:
        assert list(row) == ["task_id", "sample", "status", "reward", "passed", "total", "seconds", "failure"]
        assert row["reward"] == row["passed"] / row["total"]
        assert row["total"] == 4
    for row in answers:
        assert list(row) == ["task_id", "sample", "text", "score", "cost", "failure"]
        assert row["text"].startswith("def f(x):\n    return x < ")
        assert set(row["cost"]) == COST
    rewards: dict[str, list[float]] = {}
    for row in verdicts:
        rewards.setdefault(row["task_id"], []).append(row["reward"])
    problem_means = [sum(some) / len(some) for some in rewards.values()]
    assert results["n"] == len(rewards)
    assert results["samples"] == len(wanted)
    assert math.isclose(results["mean_reward"], sum(problem_means) / len(problem_means))
    solved = [sum(r == 1 for r in some) / len(some) for some in rewards.values()]
    assert math.isclose(results["pass@1"], sum(solved) / len(solved))
    low, high = results["confidence_interval"]["mean_reward"]
    assert low <= results["mean_reward"] <= high
    assert results["cost"]["verifier_calls"] == len(wanted)
    return verdicts


def heldout(workplace: Workplace) -> list[str]:
    """The task_ids of the split, as a run sees them."""
    return list(dict.fromkeys(row["task_id"] for row in workplace.lines("answers.jsonl")))


def test_sample_writes_the_files_and_goes_on_after_a_kill(workplace: Workplace) -> None:
    second_chunk = Strike("restrl.stages.evaluation:judge_answers", call=2)
    assert workplace.decode("decoder=sample", "dataset.max_tokens=3", strikes=(second_chunk,)).code == -9
    done = workplace.decode("decoder=sample", "dataset.max_tokens=3")
    assert (done.code, done.err) == (0, "")
    ids = heldout(workplace)
    assert len(ids) == 4  # 40 % of 8 problems, rounded up
    check_files(workplace, dict.fromkeys(ids, 2))
    judged = {line["task_id"]: line["rewards"] for line in workplace.lines("outcomes.jsonl")}
    verdicts = workplace.lines("verdicts.jsonl")
    assert judged == {name: [v["reward"] for v in verdicts if v["task_id"] == name] for name in ids}
    results, answers = workplace.results(), timeless(workplace.lines("answers.jsonl"))
    assert results["cost"]["completions"] == 8
    assert "pass@2" in results
    again = workplace.decode(
        "decoder=sample", "dataset.max_tokens=3", "seed=0", strikes=(NO_MODEL, NO_SANDBOX)
    )
    assert again.code == 0
    assert timeless(workplace.lines("answers.jsonl")) == answers
    assert workplace.decode("decoder=sample", "dataset.max_tokens=3", "seed=1").code == 0
    assert timeless(workplace.lines("answers.jsonl")) != answers


def test_decoders_share_their_samples(workplace: Workplace) -> None:
    no_samples = never("restrl.engine.hf:HfEngine.generate")
    for split in ("heldout", "train"):  # of other problems there are other samples
        assert workplace.decode("decoder=sample", f"decoder.split={split}").code == 0
    sampled = {(row["task_id"], row["sample"]): row for row in workplace.lines("answers.jsonl")}
    rewards = {(row["task_id"], row["sample"]): row["reward"] for row in workplace.lines("verdicts.jsonl")}
    stored = artifacts(workplace.outputs, "decode_samples")
    assert len(stored) == 2
    best = ("decoder=best_of_n", "scorer=verifier", "decoder.k=[1]", "decoder.split=train")
    assert workplace.decode(*best, strikes=(no_samples,)).code == 0
    for row in workplace.lines("answers.jsonl"):
        own = [key for key in sampled if key[0] == row["task_id"]]
        chosen = max(own, key=rewards.__getitem__)
        assert (row["text"], row["score"]) == (sampled[chosen]["text"], rewards[chosen])
        assert row["cost"]["completions"] == 2
        assert math.isclose(
            row["cost"]["model_tokens"], sum(sampled[key]["cost"]["model_tokens"] for key in own)
        )
        assert row["cost"]["seconds"] > sum(sampled[key]["cost"]["seconds"] for key in own)
    assert artifacts(workplace.outputs, "decode_samples") == stored
    assert workplace.decode(*best, "decoder.sampling.temperature=0.5").code == 0
    assert len(artifacts(workplace.outputs, "decode_samples")) == 3


def test_greedy_gives_one_answer_and_the_same_one_for_every_seed(workplace: Workplace) -> None:
    texts = []
    for seed in (0, 1):
        done = workplace.decode("decoder=greedy", "decoder.k=[1]", "decoder.sampling.n=1", f"seed={seed}")
        assert (done.code, done.err) == (0, "")
        check_files(workplace, dict.fromkeys(heldout(workplace), 1))
        texts.append([row["text"] for row in workplace.lines("answers.jsonl")])
    assert texts[0] == texts[1]


def test_replay_judges_what_others_wrote(workplace: Workplace, tmp_path: Path) -> None:
    """Problem a has three samples, of which one is right: pass@1 = 1/3, mean reward (1 + 1/2 + 0) / 3."""
    samples = tmp_path / "samples.jsonl"
    lines = [{"task_id": "a", "completion": text} for text in (RIGHT, HALF)]
    lines.append({"task_id": "a", "solution": "def f(x):\n    return x < 3 or y" + BROKEN})
    lines.append({"task_id": "b", "solution": "def f(x):\n    return x < 9 or True"})
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ("decoder=replay", f"decoder.path={samples}", "decoder.split=train", "decoder.k=[1,3]",
                 "decoder.explain=1",
                 "dataset.heldout_path=" + str(other_problems(tmp_path)))  # fmt: skip
    done = workplace.decode(*arguments, strikes=(NO_MODEL,))
    assert (done.code, done.err) == (0, "")
    verdicts = check_files(workplace, {"a": 3, "b": 1})
    assert [row["reward"] for row in verdicts] == [1.0, 0.5, 0.0, 1.0]
    assert [row["status"] for row in verdicts] == ["passed", "failed", "failed", "passed"]
    assert [row["failure"] and row["failure"]["test"] for row in verdicts] == [None, "test 2", "", None]
    assert "a, sample 1: failed, 2 of 4 tests\n  test:     test 2\n  input:" in done.out
    assert "a, sample 2: " not in done.out  # only the first failed answer is explained
    results = workplace.results()
    assert math.isclose(results["pass@1"], (1 / 3 + 1) / 2)
    assert math.isclose(results["pass@3"], 1.0)  # only a has 3 samples, and one of them passes
    assert results["unanswered"] == 6
    assert "4/4" in done.out  # progress counts the file's samples

    before = artifacts(workplace.outputs)
    assert workplace.decode(*arguments, strikes=(NO_MODEL, NO_SANDBOX)).code == 0
    assert artifacts(workplace.outputs) == before
    samples.write_text(samples.read_text().replace(json.dumps(RIGHT), json.dumps(HALF)))
    assert workplace.decode(*arguments, strikes=(NO_MODEL,)).code == 0
    assert workplace.results()["pass@3"] == 0.0


def other_problems(folder: Path) -> Path:
    """A held-out file with one problem, so that all of the others are for training."""
    path = folder / "heldout.jsonl"
    line = json.loads((folder / "problems.jsonl").read_text().splitlines()[0])
    path.write_text(json.dumps(line | {"task_id": "other"}) + "\n")
    return path


def test_an_interrupt_is_one_line_and_loses_nothing(workplace: Workplace) -> None:
    # the first call is the check of the model when it is loaded
    interrupt = Strike("restrl.engine.hf:HfEngine.generate", signal.SIGINT, call=3)
    stopped = workplace.decode(strikes=(interrupt,))
    assert (stopped.code, stopped.err) == (
        130,
        "interrupted: the same command goes on where this one stopped\n",
    )
    (name,) = artifacts(workplace.outputs, "decode_samples")
    records = workplace.outputs / "artifacts" / name / "records.jsonl"
    kept = records.read_bytes()
    assert len(kept.splitlines()) == 2  # the first chunk
    assert workplace.decode().code == 0
    assert records.read_bytes().startswith(kept)
