"""Stage 1, ReST-GRPO (arXiv 2508.19576, 3.1): (sample -> assemble -> grpo) x T, then the comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from restrl.artifacts import Artifact
from restrl.evaluate.outcomes import write_outcomes
from restrl.evaluate.results import compare, evaluate
from restrl.evaluate.table import comparison_table
from restrl.records import Cost, to_json
from restrl.stages.evaluation import configured_method, evaluate_step
from restrl.stages.report import write_report
from restrl.stages.resources import PolicyRef, Resources
from restrl.stages.session import Session
from restrl.stages.steps import POLICY, assemble_step, grpo_step, initial_states_step, sample_step


@dataclass
class History:
    """The result of the stage: the final policy, and each iteration's artifacts by step."""

    policy: PolicyRef
    iterations: list[dict[str, Artifact]] = field(default_factory=list)


def rest_grpo(session: Session, resources: Resources, iterations: int, last_step: str = "grpo") -> History:
    """Runs the iterations of the stage; ``last_step`` (sample, assemble) ends the first iteration early.

    Without filter and partial states nothing is sampled: training starts from the initial state of every
    problem.
    """
    grpo = session.config.grpo
    samples_used = grpo.sigma0 > 0 or grpo.partial_states
    history = History(resources.base)
    for t in range(1, iterations + 1):
        done: dict[str, Artifact] = {}
        history.iterations.append(done)
        if samples_used or last_step == "sample":
            done["sample"] = sample_step(session, resources, history.policy, t)
        if last_step == "sample":
            break
        if samples_used:
            done["assemble"] = assemble_step(session, resources, history.policy, done["sample"], t)
        else:
            done["assemble"] = initial_states_step(session, resources, history.policy, t)
        if last_step == "assemble":
            break
        history.policy, done["grpo"] = grpo_step(session, resources, history.policy, done["assemble"], t)
    return history


def compare_policies(session: Session, resources: Resources, history: History) -> dict[str, Any]:
    """Compares base and trained policy on the held-out problems; prints the table and writes the report."""
    decoder, seed = session.config.decoder, session.config.seed
    problems = resources.problems("heldout")
    method = configured_method(session.config)
    _, base = evaluate_step(session, resources, resources.base, problems, method, "evaluate the base policy")
    _, trained = evaluate_step(
        session, resources, history.policy, problems, method, "evaluate the trained policy"
    )
    policies = {
        "base": evaluate(base, problems.problems, decoder, seed) | problems.left_out,
        "trained": evaluate(trained, problems.problems, decoder, seed) | problems.left_out,
    }
    paired = compare(base, trained, problems.problems, decoder, seed)
    training = history.iterations[-1]["grpo"]
    folder = session.folder
    places = {
        "report": str(folder / "report.md"),
        "tensorboard": str(training.folder / "tensorboard"),
        "policy": str(training.folder / POLICY),
    }
    cost = sum((step.cost for steps in history.iterations for step in steps.values()), Cost())
    results = {**policies, "paired": paired, "places": places, "training_cost": to_json(cost)}
    name = session.config.stage.name
    rows = {"base": (base, problems.problems), "trained": (trained, problems.problems)}
    session.write(lambda: write_outcomes(folder, rows))
    session.write(lambda: write_report(folder, results, history.iterations, name, trained))
    session.console.show(comparison_table(policies, paired, f"held-out problems{problems.note}"))
    for name, place in places.items():
        session.console.say(f"{name}: {place}")
    return results
