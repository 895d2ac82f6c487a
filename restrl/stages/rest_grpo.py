"""Stage 1, ReST-GRPO (arXiv 2508.19576, 3.1): (sample -> assemble -> grpo) x T, then the comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restrl.artifacts import Artifact
from restrl.evaluate.results import compare, evaluate
from restrl.evaluate.table import comparison_table
from restrl.records import Cost, to_json
from restrl.stages.evaluation import configured_method, evaluate_step
from restrl.stages.report import write_report
from restrl.stages.runtime import PolicyRef, Runtime
from restrl.stages.steps import POLICY, assemble_step, grpo_step, sample_step


@dataclass
class History:
    """What a run of the stage did: the policy it ended with, and each iteration's artifacts by step."""

    policy: PolicyRef
    iterations: list[dict[str, Artifact]] = field(default_factory=list)


def rest_grpo(run: Runtime, iterations: int, last_step: str = "grpo") -> History:
    """The stage's iterations; ``last_step`` (sample, assemble) ends the first one early."""
    history = History(run.base)
    for t in range(1, iterations + 1):
        done: dict[str, Artifact] = {}
        history.iterations.append(done)
        done["sample"] = sample_step(run, history.policy, t)
        if last_step == "sample":
            break
        done["assemble"] = assemble_step(run, history.policy, done["sample"], t)
        if last_step == "assemble":
            break
        history.policy, done["grpo"] = grpo_step(run, history.policy, done["sample"], done["assemble"], t)
    return history


def compare_policies(run: Runtime, history: History, folder: Path) -> dict[str, Any]:
    """Base against trained policy on the held-out problems: printed, and written to ``folder``."""
    decoder, seed = run.config.decoder, run.config.seed
    problems = run.problems("heldout")
    method = configured_method(run.config)
    _, base = evaluate_step(run, run.base, problems, method, "evaluate the base policy")
    _, trained = evaluate_step(run, history.policy, problems, method, "evaluate the trained policy")
    policies = {
        "base": evaluate(base, problems.problems, decoder, seed),
        "trained": evaluate(trained, problems.problems, decoder, seed),
    }
    paired = compare(base, trained, problems.problems, decoder, seed)
    training = history.iterations[-1]["grpo"]
    places = {
        "report": str(folder / "report.md"),
        "tensorboard": str(training.folder / "tensorboard"),
        "policy": str(training.folder / POLICY),
    }
    cost = sum((step.cost for steps in history.iterations for step in steps.values()), Cost())
    results = {**policies, "paired": paired, "places": places, "training_cost": to_json(cost)}
    write_report(folder, results, history.iterations, run.config.stage.name)
    run.console.show(comparison_table(policies, paired, "held-out problems"))
    for name, place in places.items():
        run.console.say(f"{name}: {place}")
    return results
