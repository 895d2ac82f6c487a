"""Stage 1, ReST-GRPO (arXiv 2508.19576, 3.1): (sample -> assemble -> grpo) x T, then the comparison.

The baselines have the same plan with other examples and another training: pairs and DPO, accepted completions
and SFT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from restrl.artifacts import Artifact
from restrl.config import Config
from restrl.errors import UserError
from restrl.evaluate.average import paired_with_average, with_average
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
from restrl.stages.steps import (
    accepted_step,
    assemble_step,
    initial_states_step,
    pairs_step,
    sample_step,
)
from restrl.stages.training import DPO, GRPO, POLICY, SFT, Learner, train_step


def rest_grpo(config: Config, iterations: int) -> Plan:
    """The iterations of the stage, and with ``stage.evaluate`` the comparison at its end.

    Raises UserError for ``decoder.budgets``.
    """
    if config.decoder.budgets:
        raise UserError(
            f"decoder.budgets={config.decoder.budgets}: the comparison of stage={config.stage.name} shows "
            "none; use decode.py, or evaluation.budgets with stage=rest_rl"
        )
    training = iteration_steps(config, iterations)
    if not config.stage.evaluate:
        end = Step("report", lambda session, _, results: _say_policy(session, results), (training[-1].name,))
        return Plan([*training, end], _check_training)
    steps = [*training, *_answers("base", config, 0), *_answers("trained", config, iterations)]
    report = Step("report", _report, tuple(step.name for step in steps))
    return Plan([*steps, report], _check_comparison)


# of stages with another training than GRPO
LEARNERS = {"rest_dpo": DPO, "rest_sft": SFT}
# the step that makes a learner's examples
EXAMPLES = {GRPO: "assemble", DPO: "pairs", SFT: "accepted"}


OF_SAMPLES = {"pairs": pairs_step, "accepted": accepted_step}  # those that ask no model


def learner_of(config: Config) -> Learner:
    """What trains the policy in the configured stage."""
    return LEARNERS.get(config.stage.name, GRPO)


def iteration_steps(config: Config, iterations: int, last: str = "") -> list[Step]:
    """The steps of the iterations; ``last`` (sample, assemble) ends the first iteration early.

    GRPO without filter and partial states samples nothing before: it starts from the initial state of every
    problem.
    """
    learner, steps = learner_of(config), list[Step]()
    examples = EXAMPLES[learner]
    samples_used = learner is not GRPO or config.grpo.sigma0 > 0 or config.grpo.partial_states
    for t in range(1, iterations + 1):
        before = after(config, t - 1)
        if samples_used or last == "sample":
            steps.append(Step(f"sample_{t}", _sample(t), before, "model", divisible=True))
        if last == "sample":
            break
        sampled = (f"sample_{t}",) if samples_used else ()
        steps.append(Step(f"{examples}_{t}", _examples(examples, t), (*before, *sampled)))
        if last == "assemble":
            break
        train = _train(learner, f"{examples}_{t}", t)
        steps.append(Step(f"{learner.name}_{t}", train, (*before, f"{examples}_{t}"), "training"))
    return steps


def after(config: Config, t: int) -> tuple[str, ...]:
    """The step that makes the policy of iteration ``t``; none for the base model (0)."""
    return (f"{learner_of(config).name}_{t}",) if t > 0 else ()


def policy_after(t: int, resources: Resources, results: Results) -> PolicyRef:
    """The policy after ``t`` iterations."""
    policy: PolicyRef = results[after(resources.config, t)[0]][0] if t > 0 else resources.base
    return policy


def _sample(t: int) -> Any:
    return lambda session, resources, results: sample_step(
        session, resources, policy_after(t - 1, resources, results), t
    )


def _examples(name: str, t: int) -> Any:
    """The step ``name`` (assemble, pairs, accepted) of iteration ``t``."""

    def run(session: Session, resources: Resources, results: Results) -> Artifact:
        if name in OF_SAMPLES:
            return OF_SAMPLES[name](session, results[f"sample_{t}"], t)
        policy = policy_after(t - 1, resources, results)
        if f"sample_{t}" not in results:
            return initial_states_step(session, resources, policy, t)
        return assemble_step(session, resources, policy, results[f"sample_{t}"], t)

    return run


def _train(learner: Learner, examples: str, t: int) -> Any:
    return lambda session, resources, results: train_step(
        learner, session, resources, policy_after(t - 1, resources, results), results[examples], t
    )


def _answers(name: str, config: Config, t: int) -> list[Step]:
    """The held-out problems, answered by the policy after ``t`` iterations."""
    question = Question(
        name,
        lambda resources, results: policy_after(t, resources, results),
        lambda resources: resources.problems("heldout"),
        after(config, t),
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


def artifacts_by_iteration(config: Config, results: Results) -> list[dict[str, Artifact]]:
    """Each iteration's artifacts by step: sample (if there is one), what it gives to train on, training."""
    learner, iterations = learner_of(config), list[dict[str, Artifact]]()
    while f"{learner.name}_{len(iterations) + 1}" in results:
        t = len(iterations) + 1
        made = {name: results.get(f"{name}_{t}") for name in ("sample", EXAMPLES[learner])}
        iterations.append({name: artifact for name, artifact in made.items() if artifact is not None})
        iterations[-1][learner.name] = results[f"{learner.name}_{t}"][1]
    return iterations


def _report(session: Session, resources: Resources, results: Results) -> float | None:
    """Compares base and trained policy; prints the table and writes the report.  Returns pass@1."""
    iterations = artifacts_by_iteration(session.config, results)
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
    among, groups = problems.problems, session.config.dataset.average
    policies = {
        name: with_average(evaluate(of_policy, among, decoder, seed), of_policy, among, groups, decoder, seed)
        | problems.left_out
        for name, of_policy in outcomes.items()
    }
    both = (outcomes["base"], outcomes["trained"])
    paired = compare(*both, among, decoder, seed)
    paired = paired_with_average(paired, *both, among, groups, decoder, seed)
    training = iterations[-1][learner_of(session.config).name]
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
