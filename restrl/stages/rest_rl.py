"""Both stages of ReST-RL (arXiv 2508.19576), then every way to answer the held-out problems in one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restrl.config import Config, DecoderConfig, ScorerConfig
from restrl.evaluate.methods import methods_markdown, methods_table
from restrl.evaluate.results import compare, evaluate
from restrl.files import write_json_atomic, write_text_atomic
from restrl.model.value import check_value_class
from restrl.records import Cost, Outcome, to_json
from restrl.stages.collect import collect_step
from restrl.stages.evaluation import Method, evaluate_step
from restrl.stages.fit import fit_step
from restrl.stages.rest_grpo import rest_grpo
from restrl.stages.runtime import PolicyRef, Runtime
from restrl.stages.settings import SCORED


@dataclass(frozen=True)
class Row:
    """A way to answer: whose samples, which decoder, and what chooses."""

    policy: str
    decoder: str
    scorer: str = "none"

    def __str__(self) -> str:
        chooser = "" if self.scorer == "none" else f" {self.scorer}"
        return f"{self.policy} {self.decoder}{chooser}"


def rest_rl(run: Runtime, folder: Path) -> float | None:
    """Returns pass@1 of the last row."""
    rows = [Row(row.policy, row.decoder, row.scorer) for row in run.config.evaluation.rows]
    run.problems("heldout")  # a missing held-out set should not be found out after the training
    check_value_class(run.base.model, run.config.paths)  # nor that the policy cannot be a value model
    history = rest_grpo(run, run.config.grpo.iterations)
    policies = {"base": run.base, "trained": history.policy}
    collected = collect_step(run, history.policy)
    scorers = {"none": ScorerConfig(), "verifier": ScorerConfig(name="verifier")}
    for name, targets in (("vm", run.config.vm.targets), ("orm", "terminal")):
        if any(row.scorer == name for row in rows):
            vm = dataclasses.replace(run.config.vm, targets=targets)
            scorers[name], _ = fit_step(run, history.policy, collected, vm)
    return evaluate_rows(run, folder, rows, policies, scorers)


def method_of(config: Config, row: Row, scorer: ScorerConfig) -> Method:
    """The run's decoder settings, with the row's decoder and the same number of completions for each."""
    evaluation, sampling = config.evaluation, config.decoder.sampling
    drawn = dataclasses.replace(sampling, n=1 if row.decoder == "greedy" else evaluation.completions)
    mcts = dataclasses.replace(evaluation.mcts, completions=evaluation.completions)
    answers = evaluation.answers if row.decoder in SCORED else 1
    k = sorted({1, answers if row.decoder in SCORED else drawn.n})
    decoder: DecoderConfig = dataclasses.replace(
        config.decoder, name=row.decoder, split="heldout", sampling=drawn, answers=answers, mcts=mcts, k=k
    )
    return Method(decoder, scorer)


def evaluate_rows(
    run: Runtime,
    folder: Path,
    rows: Sequence[Row],
    policies: Mapping[str, PolicyRef],
    scorers: Mapping[str, ScorerConfig],
) -> float | None:
    """Prints the table and writes ``results.json`` and ``report.md``.  Returns pass@1 of the last row."""
    problems, seed = run.problems("heldout"), run.config.seed
    outcomes: dict[Row, list[Outcome]] = {}
    results: dict[str, dict[str, Any]] = {}
    for row in rows:
        method = method_of(run.config, row, scorers[row.scorer])
        _, outcomes[row] = evaluate_step(run, policies[row.policy], problems, method, f"evaluate {row}")
        results[str(row)] = evaluate(outcomes[row], problems.problems, method.decoder, seed) | {
            "oracle": method.oracle,
            "cost_per_answer": per_answer(outcomes[row]),
            **problems.left_out,
        }
    for row in rows:
        if (other := reference_of(row, rows)) is not None:
            paired = compare(outcomes[other], outcomes[row], problems.problems, run.config.decoder, seed)
            results[str(row)] |= {"paired_with": str(other), "paired": paired}
    write_json_atomic(folder / "results.json", {"rows": results})
    title = f"held-out problems of {run.config.dataset.name}{problems.note}"
    run.console.show(methods_table(results, title))
    write_text_atomic(folder / "report.md", methods_markdown(results, title))
    run.console.say(f"results: {folder / 'results.json'}")
    last: float | None = results[str(rows[-1])]["pass@1"]
    return last


def reference_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """What a row is compared with: the same policy's samples; for samples, those of the base policy."""
    policy = "base" if row.decoder == "sample" else row.policy
    reference = Row(policy, "sample")
    return reference if reference in rows and reference != row else None


def per_answer(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The mean cost of an answer."""
    total = sum((outcome.answer.cost for outcome in outcomes), Cost())
    return {key: value / max(1, len(outcomes)) for key, value in to_json(total).items()}
