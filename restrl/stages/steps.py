"""The steps of stage 1.  Each reads artifacts, calls the library and writes one artifact.

A step's fingerprint covers what it reads and nothing else, so that a sweep over ``grpo.sigma0`` samples once.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from restrl.actions import cut_positions, text_of
from restrl.artifacts import Artifact, RecordLog, Work
from restrl.config import LoraConfig
from restrl.engine.base import Progress, make_request
from restrl.model import add_lora, save_model
from restrl.prompts import Prompter
from restrl.records import Cost, Group, Problem, StartState
from restrl.seeds import derive_seed
from restrl.select.start_states import Assembly, assemble, unfiltered
from restrl.stages.resolution import policy_resolution
from restrl.stages.runtime import LoadedPolicy, PolicyRef, Runtime, in_chunks
from restrl.train.checkpoint import remove_checkpoints
from restrl.train.grpo import train_grpo
from restrl.train.strategy import load_dtype

POLICY = "policy"  # folder of a grpo artifact, in Hugging Face layout


def sample_step(run: Runtime, policy: PolicyRef, iteration: int) -> Artifact:
    """Step 1: N judged completions of each training problem (a Group per problem)."""
    problems, sampling = run.problems("train"), run.config.grpo.sample
    inputs = {"policy": policy.fingerprint, "problems": problems.fingerprint}
    with run.open("sample", inputs, iteration=iteration) as work:
        if work.done:
            return run.found(work.artifact)
        log, total = work.records(Group), len(problems.problems) * sampling.n
        costs = work.records(Cost, "costs.jsonl")  # a line per chunk, so that a resumed run adds up
        size = run.config.engine.chunk_problems

        def resumed(done: int) -> None:
            costs.truncate(-(-done // size))
            advance(done * sampling.n)

        with run.console.progress(f"sample (iteration {iteration})", total) as advance:
            in_chunks(
                log,
                problems.problems,
                size,
                lambda chunk: _sample(run, run.load(policy, train=True), chunk, iteration, advance, costs),
                resumed,
            )
        summary = _sample_summary(log.read()) | problems.left_out
        return work.finish(sum(costs.read(), Cost()), summary)


def _sample(
    run: Runtime,
    policy: LoadedPolicy,
    problems: Sequence[Problem],
    iteration: int,
    advance: Progress,
    costs: RecordLog[Cost],
) -> list[Group]:
    started, sampling = time.monotonic(), run.config.grpo.sample
    states = [policy.prompter.encode(problem) for problem in problems]
    requests = [
        make_request(
            ids,
            sampling,
            policy.prompter.stop,
            derive_seed(run.config.seed, "sample", iteration, problem.task_id),
        )
        for problem, (ids, _) in zip(problems, states, strict=True)
    ]
    sampled = policy.engine.generate(requests, advance)
    programs = [
        (policy.prompter.program(code, completion.text), problem.tests)
        for problem, (_, code), completions in zip(problems, states, sampled, strict=True)
        for completion in completions
    ]
    verdicts = iter(run.sandbox.judge(programs))
    groups = [
        Group(problem.task_id, ids, code, completions, tuple(next(verdicts) for _ in completions))
        for problem, (ids, code), completions in zip(problems, states, sampled, strict=True)
    ]
    costs.append([_cost(groups, time.monotonic() - started)])
    return groups


def assemble_step(run: Runtime, policy: PolicyRef, samples: Artifact, iteration: int) -> Artifact:
    """Steps 2 and 3: the problems whose rewards vary, and the states that training starts from."""
    with run.open("assemble", {"samples": samples.fingerprint}) as work:
        if work.done:
            artifact = run.found(work.artifact)
        else:
            tokenizer = run.tokenizer(policy)
            assembly = assemble(
                samples.read(Group),
                lambda ids: cut_positions(ids, tokenizer),
                lambda ids, k: text_of(ids, k, tokenizer),
                run.config.grpo,
                np.random.default_rng(derive_seed(run.config.seed, "assemble", iteration)),
                run.positions,
            )
            artifact = _finish_assembly(work, assembly)
        run.console.say(f"assemble (iteration {iteration}): {artifact.summary['text']}")
        return artifact


def initial_states_step(run: Runtime, policy: PolicyRef, iteration: int) -> Artifact:
    """In place of steps 1 to 3, without filter and partial states: every problem's initial state."""
    problems = run.problems("train")
    inputs = {"policy": policy.fingerprint, "problems": problems.fingerprint}
    with run.open("initial_states", inputs) as work:
        if work.done:
            artifact = run.found(work.artifact)
        else:
            prompter = Prompter(run.tokenizer(policy), policy.model)
            encoded = [(problem.task_id, *prompter.encode(problem)) for problem in problems.problems]
            states = [StartState(task_id, ids, code, 0, None) for task_id, ids, code in encoded]
            artifact = _finish_assembly(work, unfiltered(states))
        run.console.say(f"assemble (iteration {iteration}): {artifact.summary['text']}")
        return artifact


def _finish_assembly(work: Work, assembly: Assembly) -> Artifact:
    log = work.records(StartState)
    log.truncate(0)
    log.append(assembly.states)
    return work.finish(summary={"text": assembly.report.text(), **assembly.report.to_json()})


def grpo_step(
    run: Runtime, policy: PolicyRef, states: Artifact, iteration: int
) -> tuple[PolicyRef, Artifact]:
    """Step 4: the policy trained on the start states."""
    config, problems = run.config, run.problems("train")
    inputs = {"policy": policy.fingerprint, "states": states.fingerprint, "problems": problems.fingerprint}
    with run.open("grpo", inputs, iteration=iteration) as work:
        if work.done:
            artifact = run.found(work.artifact)
        else:
            run.console.say(f"grpo (iteration {iteration}): {work.folder}")
            loaded = run.load(policy, load_dtype(config.trainer, config.model.lora), train=True)
            if config.model.lora.r is not None:
                seed = derive_seed(config.seed, "grpo", iteration, "lora")
                loaded.model = add_lora(loaded.model, config.model.lora, seed)
            result = train_grpo(
                model=loaded.model,
                tokenizer=loaded.tokenizer,
                engine=loaded.engine,
                sandbox=run.sandbox,
                prompter=loaded.prompter,
                problems=problems.by_id,
                states=list(states.read(StartState)),
                grpo=config.grpo,
                trainer=config.trainer,
                folder=work.folder,
                seed=derive_seed(config.seed, "grpo", iteration),
                signature=work.fingerprint,
            )
            save_model(loaded.model, loaded.tokenizer, work.folder / POLICY)
            resolved = policy_resolution(run, policy, loaded.model, f"grpo (iteration {iteration})")
            run.release()  # the trained weights are not those of the policy that it was loaded as
            summary = _training_summary(result.metrics) | resolved
            artifact = work.finish(result.cost, summary, folders=[POLICY])
        remove_checkpoints(work.folder)  # also those that a kill just before this line left
        model = dataclasses.replace(
            policy.model, source="hub", path=str(artifact.folder / POLICY), revision=None, lora=LoraConfig()
        )
        return PolicyRef(model, artifact.fingerprint), artifact


def _cost(groups: Sequence[Group], seconds: float) -> Cost:
    completions = [completion for group in groups for completion in group.completions]
    tokens = sum(len(c.ids) for c in completions)
    return Cost(len(completions), tokens, verifier_calls=len(completions), seconds=seconds)


def _sample_summary(groups: Iterable[Group]) -> dict[str, Any]:
    rewards: list[float] = []
    statuses: Counter[str] = Counter()
    for group in groups:
        rewards += [reward for reward in group.rewards if reward is not None]
        statuses.update(verdict.status for verdict in group.verdicts)
    return {
        "mean_reward": float(np.mean(rewards)) if rewards else None,
        "statuses": dict(sorted(statuses.items())),
    }


def _training_summary(metrics: Sequence[dict[str, float]]) -> dict[str, Any]:
    """First and last quarter of the run: how reward and length moved."""
    quarter = max(1, len(metrics) // 4)
    keys = (
        "reward",
        "passed",
        "spread",
        "zero_variance",
        "completion_length",
        "truncated",
        "tokens_per_second",
    )

    def means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
        return {key: float(np.mean([row[key] for row in rows])) for key in keys}

    return {
        "steps": len(metrics),
        "skipped_updates": int(sum(row["skipped_updates"] for row in metrics)),  # not finite
        "first": means(metrics[:quarter]),
        "last": means(metrics[-quarter:]),
    }
