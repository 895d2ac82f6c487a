"""Stage 1, ReST-GRPO (arXiv 2508.19576, 3.1): (sample -> assemble -> grpo) x T, then the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from restrl.artifacts import Artifact
from restrl.config import Config
from restrl.evaluate.outcomes import write_outcomes
from restrl.evaluate.results import compare, evaluate
from restrl.evaluate.table import comparison_table
from restrl.records import Cost, Outcome, to_json
from restrl.stages.answering import Question, answer_step, sampling_steps
from restrl.stages.evaluation import configured_method
from restrl.stages.plan import Plan, Results, Step
from restrl.stages.report import write_report
from restrl.stages.resources import PolicyRef, Resources
from restrl.stages.session import Session
from restrl.stages.steps import POLICY, assemble_step, grpo_step, initial_states_step, sample_step


def rest_grpo(config: Config, iterations: int) -> Plan:
    """The iterations of the stage, and with ``stage.evaluate`` the comparison at its end."""
    training = iteration_steps(config, iterations)
    if not config.stage.evaluate:
        end = Step("report", lambda session, _, results: _say_policy(session, results), (training[-1].name,))
        return Plan([*training, end], _check_training)
    steps = [*training, *_answers("base", config, 0), *_answers("trained", config, iterations)]
    report = Step("report", _report, tuple(step.name for step in steps))
    return Plan([*steps, report], _check_comparison)


def iteration_steps(config: Config, iterations: int, last: str = "grpo") -> list[Step]:
    """The steps of the iterations; ``last`` (sample, assemble) ends the first iteration early.

    Without filter and partial states nothing is sampled: training starts from the initial state of every
    problem.
    """
    grpo, steps = config.grpo, list[Step]()
    samples_used = grpo.sigma0 > 0 or grpo.partial_states
    for t in range(1, iterations + 1):
        if samples_used or last == "sample":
            steps.append(Step(f"sample_{t}", _sample(t), after(t - 1), "model", divisible=True))
        if last == "sample":
            break
        sampled = (f"sample_{t}",) if samples_used else ()
        steps.append(Step(f"assemble_{t}", _assemble(t), (*after(t - 1), *sampled)))
        if last == "assemble":
            break
        steps.append(Step(f"grpo_{t}", _grpo(t), (*after(t - 1), f"assemble_{t}"), "training"))
    return steps


def after(t: int) -> tuple[str, ...]:
    """The step that makes the policy of iteration ``t``; none for the base model (0)."""
    return (f"grpo_{t}",) if t > 0 else ()


def policy_after(t: int, resources: Resources, results: Results) -> PolicyRef:
    """The policy after ``t`` iterations."""
    policy: PolicyRef = results[f"grpo_{t}"][0] if t > 0 else resources.base
    return policy


def _sample(t: int) -> Any:
    return lambda session, resources, results: sample_step(
        session, resources, policy_after(t - 1, resources, results), t
    )


def _assemble(t: int) -> Any:
    def run(session: Session, resources: Resources, results: Results) -> Artifact:
        policy = policy_after(t - 1, resources, results)
        if f"sample_{t}" not in results:
            return initial_states_step(session, resources, policy, t)
        return assemble_step(session, resources, policy, results[f"sample_{t}"], t)

    return run


def _grpo(t: int) -> Any:
    return lambda session, resources, results: grpo_step(
        session, resources, policy_after(t - 1, resources, results), results[f"assemble_{t}"], t
    )


def _answers(name: str, config: Config, t: int) -> list[Step]:
    """The held-out problems, answered by the policy after ``t`` iterations."""
    question = Question(
        name,
        lambda resources, results: policy_after(t, resources, results),
        lambda resources: resources.problems("heldout"),
        after(t),
    )
    sampling = sampling_steps(question, config.decoder)
    answers = answer_step(
        question,
        f"answers_{name}",
        config.decoder,
        config.scorer.name,
        lambda _: configured_method(config),
        tuple(step.name for step in sampling),
        f"evaluate the {name} policy",
    )
    return [*sampling, answers]


def _check_training(session: Session, resources: Resources) -> None:
    del session
    resources.problems("train")


def _check_comparison(session: Session, resources: Resources) -> None:
    resources.problems("train")
    resources.problems("heldout")
    configured_method(session.config)


def _say_policy(session: Session, results: Results) -> None:
    policy, _ = next(iter(results.values()))
    session.console.say(f"policy: {policy.model.path}")


def artifacts_by_iteration(results: Results) -> list[dict[str, Artifact]]:
    """Each iteration's artifacts by step: sample (if there is one), assemble, grpo."""
    iterations: list[dict[str, Artifact]] = []
    t = 1
    while f"grpo_{t}" in results:
        made = {name: results.get(f"{name}_{t}") for name in ("sample", "assemble")}
        iterations.append({name: artifact for name, artifact in made.items() if artifact is not None})
        iterations[-1]["grpo"] = results[f"grpo_{t}"][1]
        t += 1
    return iterations


def _report(session: Session, resources: Resources, results: Results) -> float | None:
    """Compares base and trained policy; prints the table and writes the report.  Returns pass@1."""
    iterations = artifacts_by_iteration(results)
    outcomes = {name: results[f"answers_{name}"][1] for name in ("base", "trained")}
    compared = compare_policies(session, resources, iterations, outcomes)
    pass_at_1: float | None = compared["trained"]["pass@1"]
    return pass_at_1


def compare_policies(
    session: Session,
    resources: Resources,
    iterations: Sequence[Mapping[str, Artifact]],
    outcomes: Mapping[str, Sequence[Outcome]],
) -> dict[str, Any]:
    """Compares base and trained policy on the held-out problems; prints the table and writes the report."""
    decoder, seed = session.config.decoder, session.config.seed
    problems, folder = resources.problems("heldout"), session.folder
    policies = {
        name: evaluate(of_policy, problems.problems, decoder, seed) | problems.left_out
        for name, of_policy in outcomes.items()
    }
    paired = compare(outcomes["base"], outcomes["trained"], problems.problems, decoder, seed)
    training = iterations[-1]["grpo"]
    places = {
        "report": str(folder / "report.md"),
        "tensorboard": str(training.folder / "tensorboard"),
        "policy": str(training.folder / POLICY),
    }
    cost = sum((step.cost for steps in iterations for step in steps.values()), Cost())
    results = {**policies, "paired": paired, "places": places, "training_cost": to_json(cost)}
    name = session.config.stage.name
    rows = {name: (of_policy, problems.problems) for name, of_policy in outcomes.items()}
    session.write(lambda: write_outcomes(folder, rows))
    session.write(lambda: write_report(folder, results, iterations, name, outcomes["trained"]))
    session.console.show(comparison_table(policies, paired, f"held-out problems{problems.note}"))
    for name, place in places.items():
        session.console.say(f"{name}: {place}")
    return results
