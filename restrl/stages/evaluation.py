"""The evaluation of a policy: answers of a decoder to problems, judged, as an artifact."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from restrl.artifacts import Artifact, Work
from restrl.config import Config, DecoderConfig, ScorerConfig
from restrl.decode.base import Job, Policy
from restrl.decode.registry import decode
from restrl.engine.base import Progress
from restrl.errors import UserError
from restrl.evaluate.judge import judge_answers
from restrl.files import write_text_atomic
from restrl.records import Answer, Cost, Outcome, Problem
from restrl.scoring.base import Scorer
from restrl.scoring.registry import is_oracle
from restrl.search.picture import trees_page
from restrl.search.run import planned_completions
from restrl.search.saved import SavedTree
from restrl.stages.draws import KeptDraws, decoding_policy
from restrl.stages.runtime import PolicyRef, ProblemSet, Runtime, in_chunks
from restrl.stages.settings import SCORED
from restrl.stages.waves import WaveLog

TREES = "trees.jsonl"
PICTURES = 3  # trees in trees.html
ORACLE = " (oracle: the tests choose)"


@dataclass(frozen=True)
class Judged:
    """The outcomes of one problem: a record of an evaluation."""

    task_id: str
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Method:
    """How answers are made."""

    decoder: DecoderConfig
    scorer: ScorerConfig

    @property
    def oracle(self) -> bool:
        """Whether the tests choose the answers: then the result is an upper bound."""
        return self.decoder.name in SCORED and is_oracle(self.scorer)


def configured_method(config: Config) -> Method:
    """The run's own.  Raises UserError where its decoder has nothing to choose by."""
    if config.decoder.name in SCORED and config.scorer.name == "none":
        raise UserError(f"decoder={config.decoder.name} needs a scorer: scorer=vm, prm, orm or verifier")
    return Method(config.decoder, config.scorer)


def evaluate_step(
    run: Runtime, policy: PolicyRef, problems: ProblemSet, method: Method, title: str
) -> tuple[Artifact, list[Outcome]]:
    """The method's answers to ``problems``, judged (a Judged per problem; a SavedTree per search)."""
    source = _answers(run, policy, problems, method)
    inputs = {"problems": problems.fingerprint, **source.inputs}
    config = dataclasses.replace(run.config, decoder=method.decoder, scorer=method.scorer)
    with run.open("evaluate", inputs, config) as work:
        if work.done:
            artifact = run.found(work.artifact)
        else:
            log, total = work.records(Judged), source.count(problems.problems)
            if method.decoder.name == "mcts":
                work.records(SavedTree, TREES)  # the manifest counts them, also where all were there before
            with run.console.progress(title, total) as advance:
                in_chunks(
                    log,
                    problems.problems,
                    source.chunk,
                    lambda chunk: _judge(run, chunk, source.answer(work, chunk, advance)),
                    resumed=lambda done: advance(source.count(problems.problems[:done])),
                )
            outcomes = [outcome for judged in log.read() for outcome in judged.outcomes]
            cost = sum((o.answer.cost for o in outcomes), Cost(verifier_calls=len(outcomes)))
            artifact = work.finish(cost, problems.left_out)
        WaveLog(work.folder).remove()  # also what a kill just before this line left
        return artifact, [outcome for judged in artifact.read(Judged) for outcome in judged.outcomes]


def show_trees(artifact: Artifact, folder: Path) -> None:
    """Copies the trees of an evaluation into the run's ``folder``, and makes a page of the first ones."""
    trees = artifact.read(SavedTree, TREES)
    write_text_atomic(folder / TREES, (artifact.folder / TREES).read_text(encoding="utf-8"))
    write_text_atomic(folder / "trees.html", trees_page(trees[:PICTURES]))


@dataclass(frozen=True)
class _Source:
    """Where the answers of an evaluation come from."""

    answer: Callable[[Work, Sequence[Problem], Progress], list[Answer]]  # those of a chunk of the problems
    count: Callable[[Sequence[Problem]], int]  # completions or answers that some problems take, for progress
    inputs: dict[str, str]  # fingerprints of what it reads
    chunk: int  # problems that are answered together


def _answers(run: Runtime, ref: PolicyRef, problems: ProblemSet, method: Method) -> _Source:
    """Raises UserError where a file of answers does not fit the problems."""
    decoder = method.decoder
    if decoder.name == "replay":
        return _recorded(run, problems, decoder)
    per_problem = {
        "greedy": 1,
        "sample": decoder.sampling.n,
        "best_of_n": decoder.sampling.n * decoder.answers,
        "mcts": planned_completions(decoder.mcts) * decoder.answers,
    }
    draws = KeptDraws(run, ref, problems)

    def answers(work: Work, chunk: Sequence[Problem], advance: Progress) -> list[Answer]:
        job = _job(run, ref, method, problems, work, chunk, advance)
        return decode(
            dataclasses.replace(job, drawn=lambda some, sampling: draws.take(some, sampling, advance))
        )

    return _Source(
        answer=answers,
        count=lambda some: len(some) * per_problem[decoder.name],
        inputs={"policy": ref.fingerprint},
        # searches are kept wave by wave: the more of them grow together the better
        chunk=len(problems.problems) if decoder.name == "mcts" else run.config.engine.chunk_problems,
    )


def _job(
    run: Runtime,
    ref: PolicyRef,
    method: Method,
    problems: ProblemSet,
    work: Work,
    chunk: Sequence[Problem],
    advance: Progress,
) -> Job:
    def policy() -> Policy:
        return decoding_policy(run, ref)

    def scorer() -> Scorer:
        return run.scorer(method.scorer, problems)

    job = Job(chunk, method.decoder, run.config.seed, policy, advance)
    if method.decoder.name in SCORED:
        job = dataclasses.replace(job, scorer=scorer)
    if method.decoder.name == "mcts":
        trees = work.records(SavedTree, TREES)
        trees.truncate(0)  # an interrupted search hands them out again
        job = dataclasses.replace(
            job, journal=WaveLog(work.folder), keep_tree=lambda tree: trees.append([tree])
        )
    return job


def _recorded(run: Runtime, problems: ProblemSet, decoder: DecoderConfig) -> _Source:
    """The answers of a file, which is read and checked whole, against all problems.  No model is needed."""

    def no_policy() -> Policy:
        raise RuntimeError("replay samples nothing")

    by_task: dict[str, list[Answer]] = {problem.task_id: [] for problem in problems.problems}
    for answer in decode(Job(problems.problems, decoder, run.config.seed, no_policy)):
        by_task[answer.task_id].append(answer)

    def answers(_work: Work, chunk: Sequence[Problem], advance: Progress) -> list[Answer]:
        chosen = [answer for problem in chunk for answer in by_task[problem.task_id]]
        advance(len(chosen))
        return chosen

    texts = json.dumps([[answer.task_id, answer.text] for some in by_task.values() for answer in some])
    return _Source(
        answer=answers,
        count=lambda some: sum(len(by_task[problem.task_id]) for problem in some),
        inputs={"samples": hashlib.sha256(texts.encode()).hexdigest()[:16]},
        chunk=run.config.engine.chunk_problems,
    )


def _judge(run: Runtime, problems: Sequence[Problem], answers: Sequence[Answer]) -> list[Judged]:
    by_task: dict[str, list[Outcome]] = {problem.task_id: [] for problem in problems}
    for outcome in judge_answers(answers, problems, run.sandbox):
        by_task[outcome.answer.task_id].append(outcome)
    return [Judged(task_id, tuple(outcomes)) for task_id, outcomes in by_task.items()]
