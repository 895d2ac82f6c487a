"""Decoders with a scorer: best_of_n and mcts, with a scripted engine and scorer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from restrl.config import DecoderConfig, MctsConfig, SamplingConfig
from restrl.decode.base import DecodeJob, Policy
from restrl.decode.registry import decode
from restrl.engine.base import Capabilities
from restrl.errors import UserError
from restrl.records import Answer, Completion, Problem
from restrl.search.calls import ReplyBatch
from restrl.search.saved import SavedTree
from tests.engine.models import tokenizer_of

PROBLEMS = [Problem("a", "ask a", {}, code="def a():"), Problem("b", "ask b", {}, code="def b():")]
LINES = ["\n    x = 1\n    return x", "\n    return 1", "\n    y = 2\n    return y", "\n    return 2"]


GREEDY = "\n    return 3"


class Prompter:
    stop = ("\n```",)

    def encode(self, problem):
        return tuple(map(ord, problem.task_id)), problem.code

    def program(self, code, text):
        return code + text


class Engine:
    """Sample i of a prompt is LINES[(i + a number of the seed) % 4]; after a state that ends in a line, its
    return statement."""

    capabilities = Capabilities(shares_weights=True, syncs=True, token_ids=True, logprobs=True, seeds=True)

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.requests = []

    def settle(self):
        pass

    def generate(self, requests, progress=None):
        self.requests += requests
        if progress:
            progress(sum(request.n for request in requests))
        return [tuple(self.completion(request, i) for i in range(request.n)) for request in requests]

    def completion(self, request, i):
        state = self.tokenizer.decode(request.prompt_ids[1:])
        text = LINES[(i + request.seed) % 4] if request.temperature else GREEDY
        if state:
            text = "\n    return " + ("x" if "x" in state else "y")
        ids = tuple(self.tokenizer(text + "\n```", add_special_tokens=False)["input_ids"])
        return Completion(ids, text, (0.0,) * len(ids), "stop")


class Scorer:
    """``scores``: the first of these texts that the program holds decides."""

    def __init__(self, kind, scores):
        self.kind, self.scores, self.states = kind, scores, []

    def score(self, states):
        self.states += states
        return [
            next((score for text, score in self.scores.items() if text in state.text), None)
            for state in states
        ]


RIGHT = {"return y": 0.9, "return x": 0.5, "return 1": 0.5, "return 2": 0.1, "y = 2": 0.8, "x = 1": 0.2}


def job(name, scores=RIGHT, kind="outcome", problems=PROBLEMS, seed=0, **changes):
    tokenizer = tokenizer_of("leads")
    engine, scorer = Engine(tokenizer), Scorer(kind, scores)
    sampling = changes.pop("sampling", SamplingConfig(n=4, max_tokens=99))
    mcts = MctsConfig(sampling=sampling, iterations=changes.pop("iterations", 3), skip_blank=True)
    config = replace(DecoderConfig(name, sampling=sampling, mcts=mcts), **changes)
    policy = Policy(engine, Prompter(), tokenizer)
    return engine, scorer, DecodeJob(problems, config, seed, lambda: policy, scorer=lambda: scorer)


def test_best_of_n_takes_the_best_of_each_n_samples():
    engine, scorer, work = job("best_of_n", answers=2, sampling=SamplingConfig(n=2, max_tokens=99))
    answers = decode(work)
    samples = decode(job("sample")[2])  # the same four completions of each problem
    texts = {task: [a.text for a in samples if a.task_id == task] for task in "ab"}
    assert [(a.task_id, a.sample) for a in answers] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    for answer in answers:
        own = texts[answer.task_id][2 * answer.sample : 2 * answer.sample + 2]
        rated = {text: next(s for t, s in RIGHT.items() if t in text) for text in own}
        assert answer.text == max(rated, key=rated.get)
        assert answer.score == max(rated.values())
        assert (answer.cost.completions, answer.cost.scorer_calls, answer.cost.verifier_calls) == (2, 2, 0)
    assert sum(a.cost.model_tokens for a in answers) == sum(len(s.ids) for s in scorer.states)
    assert engine.requests == run_requests("sample")
    assert all(state.terminal for state in scorer.states)
    assert len(scorer.states) == 8


def run_requests(name):
    engine, _, work = job(name)
    decode(work)
    return engine.requests


def test_best_of_n_ties_go_to_the_first_and_no_score_loses():
    _, _, work = job("best_of_n", {"": 0.5})
    assert [a.text for a in decode(work)] == [a.text for a in decode(job("sample")[2]) if a.sample == 0]
    worst = {"return 2": -3.0}
    for answer in decode(job("best_of_n", worst)[2]):
        assert (answer.score, "return 2" in answer.text) == (-3.0, True)
    for answer in decode(job("best_of_n", {})[2]):
        assert answer.score is None


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.batches: list[ReplyBatch] = []
        self.trees: list[SavedTree] = []

    def read(self):
        return ()

    def append(self, records):
        self.batches += records

    def keep(self, tree, _search, _calls):
        self.trees.append(tree)


@pytest.mark.parametrize("kind", ["outcome", "state"])
def test_mcts_answers_with_the_best_program_of_its_tree(kind):
    journal = Kept()
    engine, scorer, work = job("mcts", kind=kind, answers=2)
    answers = decode(replace(work, journal=journal))
    trees = journal.trees
    assert journal.batches
    assert [(a.task_id, a.sample) for a in answers] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    for answer in answers:
        code = f"def {answer.task_id}():"
        assert answer.text == code + "\n    y = 2\n    return y"
        assert answer.score == 0.9
        (tree,) = [t for t in trees if (t.task_id, t.sample) == (answer.task_id, answer.sample)]
        assert answer.cost == tree.cost
        assert answer.cost.completions == len(tree.rollouts) >= 8
    assert len({request.seed for request in engine.requests}) == len(engine.requests)
    assert any(not state.terminal for state in scorer.states) == (kind == "state")
    assert sum(a.cost.scorer_calls for a in answers) == len(scorer.states)
    assert sum(a.cost.completions for a in answers) == sum(r.n for r in engine.requests)


def test_an_answer_does_not_depend_on_its_neighbours():
    def untimed(answer: Answer) -> Answer:
        return replace(answer, cost=replace(answer.cost, seconds=0.0))

    both = [untimed(a) for a in decode(job("mcts")[2]) if a.task_id == "b"]
    alone = [untimed(a) for a in decode(job("mcts", problems=PROBLEMS[1:])[2])]
    assert both == alone


def test_states_hold_the_tokens_that_were_sampled():
    _, scorer, work = job("mcts", kind="state")
    decode(work)
    tokenizer = tokenizer_of("leads")
    for state in scorer.states:
        text = state.text.removeprefix(f"def {state.task_id}():")
        assert tokenizer.decode(state.ids).removesuffix("\n```") == text
        assert tokenizer.decode(state.ids).endswith("```") == state.terminal


@pytest.mark.parametrize("name", ["best_of_n", "mcts"])
def test_what_is_missing_is_told_before_the_model_loads(name):
    _, _, work = job(name)

    def no_model():
        raise AssertionError("no model is needed to find this out")

    with pytest.raises(
        UserError, match=rf"decoder={name} needs a scorer .*: scorer=vm, prm, orm or verifier"
    ):
        decode(replace(work, scorer=None, policy=no_model))
    with pytest.raises(
        UserError, match=r"decoder\.k: pass@2 needs as many answers, and decoder\.answers is 1"
    ):
        decode(replace(work, config=replace(work.config, k=[1, 2]), policy=no_model))


@pytest.mark.parametrize("kind", ["outcome", "state"])
def test_the_answer_to_a_smaller_budget_is_that_of_a_search_with_it(kind):
    """For whole expansions: of four completions here."""

    def answers(completions, budgets):
        work = job("mcts", kind=kind, iterations=None, budgets=budgets)[2]
        mcts = replace(work.config.mcts, completions=completions, revisit_terminals=False)
        found = decode(replace(work, config=replace(work.config, mcts=mcts)))
        return {
            (a.task_id, a.budget): (a.text, a.score, a.cost.completions, a.cost.model_tokens) for a in found
        }

    curve = answers(12, [4, 8])
    assert set(curve) == {(task, budget) for task in "ab" for budget in (None, 4, 8)}
    for task in "ab":
        assert curve[task, None] == answers(12, [])[task, None]
        for budget in (4, 8):
            assert curve[task, budget] == answers(budget, [])[task, None]
            assert curve[task, budget][2] <= budget


def test_best_of_n_answers_smaller_budgets_from_its_first_samples():
    scores = {"return y": 0.9, "return x": 0.7, "return 1": 0.5, "return 2": 0.1}
    engine, scorer, work = job("best_of_n", scores, budgets=[1, 3])
    found = {(a.task_id, a.budget): a for a in decode(work)}
    texts = {task: [a.text for a in decode(job("sample")[2]) if a.task_id == task] for task in "ab"}
    for (task, budget), answer in found.items():
        own = texts[task][:budget]
        best = max(own, key=lambda text: next(s for t, s in scores.items() if t in text))
        assert (answer.text, answer.sample, answer.cost.completions) == (best, 0, len(own))
        assert answer.cost.scorer_calls == len(own)
    assert len(found) == 6
    assert len({answer.text for answer in found.values()}) > 2
    assert sum(request.n for request in engine.requests) == len(scorer.states) == 8


@pytest.mark.parametrize("answers", [1, 2])
def test_the_greedy_completion_takes_the_place_of_each_answers_last_sample(answers):
    def programs(**changes):
        _, scorer, work = job("best_of_n", answers=answers, **changes)
        found = decode(work)
        assert all(answer.cost.completions == 4 for answer in found)
        return [state.text for state in scorer.states], found

    sampled, _ = programs()
    texts, found = programs(greedy_first=True, scores={"return 3": 0.9, "": 0.1})
    for first in range(0, len(sampled), 4):
        task = PROBLEMS[first // (4 * answers)]
        assert texts[first : first + 4] == [task.code + GREEDY, *sampled[first : first + 3]]
    assert [answer.text.endswith(GREEDY) for answer in found] == [True] * (2 * answers)


@pytest.mark.parametrize("name", ["best_of_n", "mcts"])
def test_equal_programs_pool_their_scores(name):
    """The best score is that of a program which others outvote together."""

    class Counted:
        """0.5 for a program that is there once, 0.4 for the others."""

        kind = "outcome"

        def score(self, states):
            texts = [state.text for state in states]
            return [0.5 if texts.count(text) == 1 else 0.4 for text in texts]

    def answers(**changes):
        _, _, work = job(name, sampling=SamplingConfig(n=7, max_tokens=99), **changes)
        return [answer.text for answer in decode(replace(work, scorer=Counted))]

    assert answers(vote=True) != answers()


def test_a_search_samples_the_greedy_completion_first():
    def first_rollouts(**changes):
        journal = Kept()
        engine, _, work = job("mcts", **changes)
        decode(replace(work, journal=journal))
        at_root = [tree.rollouts[:4] for tree in sorted(journal.trees, key=lambda tree: tree.task_id)]
        assert all(rollout.node == 0 for rollouts in at_root for rollout in rollouts)
        cost = sum(tree.cost.completions for tree in journal.trees)
        assert cost == sum(request.n for request in engine.requests)
        return [[rollout.text for rollout in rollouts] for rollouts in at_root], engine.requests

    plain, _ = first_rollouts()
    found, requests = first_rollouts(greedy_first=True)
    assert found == [[GREEDY, *texts[:3]] for texts in plain]
    greedy = [request for request in requests if request.temperature == 0]
    assert [(request.n, request.top_p) for request in greedy] == [(1, 1.0)] * 2
