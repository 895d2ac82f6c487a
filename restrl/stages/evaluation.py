"""The evaluate step: a decoder answers problems, the tests judge the answers, an artifact stores both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from restrl.artifacts import Artifact, Work
from restrl.config import Config, DecoderConfig, ScorerConfig
from restrl.decode.base import DecodeJob, Policy
from restrl.decode.mcts import answers_of
from restrl.decode.registry import decode
from restrl.errors import UserError
from restrl.evaluate.judge import judge_answers
from restrl.files import write_text_atomic
from restrl.pictures.page import trees_page
from restrl.prompts import Prompter
from restrl.protocols import Progress
from restrl.records import Answer, Cost, Outcome, Problem
from restrl.scoring.registry import is_oracle
from restrl.search.run import planned_completions
from restrl.search.saved import SavedTree
from restrl.stages.chunks import in_chunks, own_items
from restrl.stages.console import StepProgress
from restrl.stages.decode_samples import SharedSamples, decoding_policy
from restrl.stages.resources import PolicyRef, ProblemSet, Resources
from restrl.stages.searches import SearchFiles
from restrl.stages.session import Session
from restrl.stages.settings import SCORED

TREES = "trees.jsonl"
PICTURES = 3  # trees in trees.html
ORACLE = " (oracle: the tests choose)"


@dataclass(frozen=True)
class Judged:
    """The outcomes of one problem: a record of an evaluation."""

    task_id: str
    outcomes: tuple[Outcome, ...]
    early: tuple[Outcome, ...] = ()  # of the answers to smaller budgets


@dataclass(frozen=True)
class Method:
    """A way to answer problems: a decoder and its scorer."""

    decoder: DecoderConfig
    scorer: ScorerConfig

    @property
    def oracle(self) -> bool:
        """Whether the tests choose the answers, which makes the result an upper bound."""
        return self.decoder.name in SCORED and is_oracle(self.scorer)


def configured_method(config: Config) -> Method:
    """The method that the configuration names.  Raises UserError if its decoder lacks a scorer."""
    if config.decoder.name in SCORED and config.scorer.name == "none":
        raise UserError(f"decoder={config.decoder.name} needs a scorer: scorer=vm, prm, orm or verifier")
    return Method(config.decoder, config.scorer)


def evaluate_step(
    session: Session,
    resources: Resources,
    policy: PolicyRef,
    problems: ProblemSet,
    method: Method,
    title: str,
) -> tuple[Artifact, list[Outcome]]:
    """The method's answers to ``problems``, judged (a Judged per problem; a SavedTree per search)."""
    source = _answers(session, resources, policy, problems, method)
    inputs = {"problems": problems.fingerprint, **source.inputs}
    config = dataclasses.replace(session.config, decoder=method.decoder, scorer=method.scorer)
    with session.open("evaluate", inputs, config) as work:
        files = SearchFiles(work.folder, session.ranks, session.part, session.makes)
        searched = method.decoder.name == "mcts"
        if work.done:
            artifact = session.found(work.artifact)
        else:
            size = session.config.engine.chunk_problems
            mine = files.share(problems.problems) if searched else own_items(session, problems.problems, size)
            total = source.count(mine) * (session.ranks.size if searched else 1)
            with session.console.progress(title, total) as advance:
                if searched:
                    files.grow(lambda: source.answer(mine, files, advance))
                    answer = _of_trees(resources, policy, method.decoder, work, files)
                    # whoever puts the parts of a search together judges its answers
                    judging = dataclasses.replace(session, makes=True)
                    artifact = _judged(judging, resources, problems, work, answer, lambda _: None)
                else:
                    artifact = _judged(
                        session,
                        resources,
                        problems,
                        work,
                        answer=lambda share: source.answer(share, files, advance),
                        found=lambda items: advance.of_all(source.count(items)),
                    )
        files.remove()  # also needed if an earlier run was killed just before this line
        return artifact, [outcome for judged in artifact.read(Judged) for outcome in judged.outcomes]


def _judged(
    session: Session,
    resources: Resources,
    problems: ProblemSet,
    work: Work,
    answer: Callable[[Sequence[Problem]], list[Answer]],
    found: Callable[[Sequence[Problem]], object],
) -> Artifact:
    """Answers and judges the remaining problems; each rank takes its share of every chunk."""

    def make(share: Sequence[Problem]) -> tuple[list[Judged], Cost]:
        judged = _judge(resources, share, answer(share))
        cost = Cost(verifier_calls=sum(len(each.outcomes) + len(each.early) for each in judged))
        return judged, sum((o.answer.cost for each in judged for o in each.outcomes), cost)

    size = session.config.engine.chunk_problems
    cost = in_chunks(session, work, Judged, problems.problems, size, make, found)
    return work.finish(cost, problems.left_out)


def _of_trees(
    resources: Resources, policy: PolicyRef, decoder: DecoderConfig, work: Work, files: SearchFiles
) -> Callable[[Sequence[Problem]], list[Answer]]:
    """Stores the finished trees; returns what reads the answers to some problems from them."""
    program = Prompter(resources.tokenizer(policy), policy.model).program
    trees = work.records(SavedTree, TREES)
    trees.truncate(0)
    answers: dict[str, dict[int, list[Answer]]] = defaultdict(dict)
    for tree in files.merged(decoder.mcts.in_flight, decoder.answers):
        trees.append([tree])
        answers[tree.task_id][tree.sample] = answers_of(tree, program, decoder.budgets)
    return lambda share: [
        answer
        for problem in share
        for sample in range(decoder.answers)
        for answer in answers[problem.task_id][sample]
    ]


def early_outcomes(artifact: Artifact) -> list[Outcome]:
    """The outcomes of an evaluation's answers to smaller budgets (``decoder.budgets``)."""
    return [outcome for judged in artifact.read(Judged) for outcome in judged.early]


def show_trees(artifact: Artifact, folder: Path) -> None:
    """Copies the trees of an evaluation into the run's ``folder``, and renders the first ones as a page."""
    trees = artifact.read(SavedTree, TREES)
    write_text_atomic(folder / TREES, (artifact.folder / TREES).read_text(encoding="utf-8"))
    write_text_atomic(folder / "trees.html", trees_page(trees[:PICTURES]))


@dataclass(frozen=True)
class _Source:
    """Where the answers of an evaluation come from."""

    # answers some of the problems
    answer: Callable[[Sequence[Problem], SearchFiles, StepProgress], list[Answer]]
    count: Callable[[Sequence[Problem]], int]  # completions or answers for these problems, for progress
    inputs: dict[str, str]  # fingerprints of the inputs


def _answers(
    session: Session, resources: Resources, ref: PolicyRef, problems: ProblemSet, method: Method
) -> _Source:
    """Raises UserError if a file of answers does not fit the problems."""
    decoder, config = method.decoder, session.config
    if decoder.name == "replay":
        return _recorded(config, problems, decoder)
    per_problem = {
        "greedy": 1,
        "sample": decoder.sampling.n,
        "best_of_n": decoder.sampling.n * decoder.answers + decoder.greedy_first,
        "mcts": planned_completions(decoder.mcts) * decoder.answers,
    }
    shared = SharedSamples(session, resources, ref, problems)

    def answers(chunk: Sequence[Problem], files: SearchFiles, advance: StepProgress) -> list[Answer]:
        job = DecodeJob(
            chunk,
            decoder,
            config.seed,
            policy=lambda: decoding_policy(resources, ref),
            progress=advance,
            scorer=(lambda: resources.scorer(method.scorer, problems)) if decoder.name in SCORED else None,
            stored_samples=lambda chunk, sampling: shared.take(chunk, sampling, advance),
            journal=files if decoder.name == "mcts" else None,
        )
        return decode(job)

    return _Source(
        answer=answers,
        count=lambda chunk: len(chunk) * per_problem[decoder.name],
        inputs={"policy": ref.fingerprint},
    )


def _recorded(config: Config, problems: ProblemSet, decoder: DecoderConfig) -> _Source:
    """The answers of a file.  The whole file is read and checked against all problems; no model is needed."""

    def no_policy() -> Policy:
        raise RuntimeError("replay samples nothing")

    by_task: dict[str, list[Answer]] = {problem.task_id: [] for problem in problems.problems}
    job = DecodeJob(problems.problems, decoder, config.seed, no_policy, others=problems.others)
    for answer in decode(job):
        by_task[answer.task_id].append(answer)

    def answers(chunk: Sequence[Problem], _files: SearchFiles, advance: Progress) -> list[Answer]:
        chosen = [answer for problem in chunk for answer in by_task[problem.task_id]]
        advance(len(chosen))
        return chosen

    texts = json.dumps([[answer.task_id, answer.text] for task in by_task.values() for answer in task])
    return _Source(
        answer=answers,
        count=lambda chunk: sum(len(by_task[problem.task_id]) for problem in chunk),
        inputs={"samples": hashlib.sha256(texts.encode()).hexdigest()[:16]},
    )


def _judge(resources: Resources, problems: Sequence[Problem], answers: Sequence[Answer]) -> list[Judged]:
    by_task: dict[str, list[Outcome]] = {problem.task_id: [] for problem in problems}
    for outcome in judge_answers(answers, problems, resources.sandbox):
        by_task[outcome.answer.task_id].append(outcome)
    return [
        Judged(
            task_id,
            tuple(outcome for outcome in outcomes if outcome.answer.budget is None),
            tuple(outcome for outcome in outcomes if outcome.answer.budget is not None),
        )
        for task_id, outcomes in by_task.items()
    ]
