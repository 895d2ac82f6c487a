"""Search with a scorer as its reward source (ReST-RL, arXiv 2508.19576, section 3.2: VM-MCTS, ORM-MCTS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from restrl.decode.base import DecodeJob, Policy, need_answers, need_scorer
from restrl.decode.choice import choose
from restrl.engine.base import SEARCHES, need
from restrl.records import Answer, Cost, Problem
from restrl.search.cut import token_cut
from restrl.search.forest import Services
from restrl.search.mcts import OUTCOME, STATE, Rules
from restrl.search.run import run_searches
from restrl.search.saved import SavedTree
from restrl.search.tree import Start
from restrl.seeds import derive_seed


def mcts(job: DecodeJob) -> list[Answer]:
    """``answers`` answers to each problem, each from a separate search with its own seed and budget.

    An answer is chosen (``choose``) among the completions that its search sampled.  If nothing was sampled,
    it is the problem's code unchanged.  Behind each answer stand those of smaller ``budgets``, read from the
    same tree.  Raises UserError without a scorer.
    """
    need_answers(job)
    config, scorer, policy = job.config.mcts, need_scorer(job), job.policy()
    need(policy.engine_name, policy.engine.capabilities, SEARCHES, "decoder=mcts")
    rules = Rules(
        config,
        STATE if scorer.kind == "state" else OUTCOME,
        token_cut(policy.tokenizer, config.skip_blank),
        policy.prompter.stop,
        job.config.greedy_first,
    )
    starts = [
        _start(job, policy, problem, sample)
        for problem in job.problems
        for sample in range(job.config.answers)
    ]
    services = Services(policy.engine.generate, scorer.score, policy.engine.settle)
    answers: dict[tuple[str, int], list[Answer]] = {}
    for tree in run_searches(starts, rules, services, job.journal, job.progress):
        answers[tree.task_id, tree.sample] = answers_of(
            tree, policy.prompter.program, job.config.budgets, job.config.vote
        )
    return [answer for start in starts for answer in answers[start.task_id, start.sample]]


def _start(job: DecodeJob, policy: Policy, problem: Problem, sample: int) -> Start:
    ids, code = policy.prompter.encode(problem)
    seed = derive_seed(job.seed, "mcts", problem.task_id, sample)
    return Start(problem.task_id, sample, ids, code, seed)


def answers_of(
    tree: SavedTree,
    program: Callable[[str, str], str],
    budgets: Sequence[int] = (),
    vote: bool = False,
) -> list[Answer]:
    """The answer that a finished search gives, then the one after each of ``budgets`` completions.

    ``program``: (code, text after it) -> the whole program.  The cost of a smaller budget is that of its
    completions alone: a tree does not keep when its states were scored.
    """
    answers = []
    texts = [tree.program(rollout).removeprefix(tree.code) for rollout in tree.rollouts]
    programs = [program(tree.code, text) for text in texts]
    for budget in (None, *budgets):
        first = tree.rollouts[:budget]
        text, score = program(tree.code, ""), None
        if first:
            best = choose(programs[:budget], [rollout.rating for rollout in first], vote)
            text, score = programs[best], first[best].rating
        cost = tree.cost if budget is None else Cost(len(first), sum(len(rollout.ids) for rollout in first))
        answers.append(Answer(tree.task_id, tree.sample, text, score, cost, budget))
    return answers
