"""Both stages of ReST-RL (arXiv 2508.19576), then a table that compares methods on the held-out problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restrl.config import Config, DecoderConfig, ScorerConfig
from restrl.evaluate.methods import methods_markdown, methods_table
from restrl.evaluate.outcomes import write_outcomes
from restrl.evaluate.results import compare, evaluate
from restrl.files import write_json_atomic, write_text_atomic
from restrl.model.value import check_value_class
from restrl.records import Cost, Outcome, to_json
from restrl.stages.collect import collect_step
from restrl.stages.evaluation import Method, evaluate_step
from restrl.stages.fit import fit_step
from restrl.stages.resources import PolicyRef, Resources
from restrl.stages.rest_grpo import rest_grpo
from restrl.stages.session import Session
from restrl.stages.settings import SCORED


@dataclass(frozen=True)
class Row:
    """A method of the table: the policy that samples, the decoder, and the scorer that chooses."""

    policy: str
    decoder: str
    scorer: str = "none"

    def __str__(self) -> str:
        chooser = "" if self.scorer == "none" else f" {self.scorer}"
        return f"{self.policy} {self.decoder}{chooser}"


def rest_rl(session: Session, resources: Resources) -> float | None:
    """Returns pass@1 of the last row."""
    rows = [Row(row.policy, row.decoder, row.scorer) for row in session.config.evaluation.rows]
    # fail before the training if the held-out set is missing or the policy cannot become a value model
    resources.problems("heldout")
    check_value_class(resources.base.model, session.config.paths)
    history = rest_grpo(session, resources, session.config.grpo.iterations)
    policies = {"base": resources.base, "trained": history.policy}
    collected = collect_step(session, resources, history.policy)
    scorers = {"none": ScorerConfig(), "verifier": ScorerConfig(name="verifier")}
    for name, targets in (("vm", session.config.vm.targets), ("orm", "terminal")):
        if any(row.scorer == name for row in rows):
            vm = dataclasses.replace(session.config.vm, targets=targets)
            scorers[name], _ = fit_step(session, resources, history.policy, collected, vm)
    return evaluate_rows(session, resources, rows, policies, scorers)


def method_of(config: Config, row: Row, scorer: ScorerConfig) -> Method:
    """The configured decoder settings with the row's decoder and the common number of completions."""
    evaluation, sampling = config.evaluation, config.decoder.sampling
    sampling = dataclasses.replace(sampling, n=1 if row.decoder == "greedy" else evaluation.completions)
    mcts = dataclasses.replace(evaluation.mcts, completions=evaluation.completions)
    answers = evaluation.answers if row.decoder in SCORED else 1
    k = sorted({1, answers if row.decoder in SCORED else sampling.n})
    decoder: DecoderConfig = dataclasses.replace(
        config.decoder, name=row.decoder, split="heldout", sampling=sampling, answers=answers, mcts=mcts, k=k
    )
    return Method(decoder, scorer)


def evaluate_rows(
    session: Session,
    resources: Resources,
    rows: Sequence[Row],
    policies: Mapping[str, PolicyRef],
    scorers: Mapping[str, ScorerConfig],
) -> float | None:
    """Prints the table and writes ``results.json`` and ``report.md``.  Returns pass@1 of the last row."""
    problems, seed = resources.problems("heldout"), session.config.seed
    outcomes: dict[Row, list[Outcome]] = {}
    results: dict[str, dict[str, Any]] = {}
    for row in rows:
        method = method_of(session.config, row, scorers[row.scorer])
        _, outcomes[row] = evaluate_step(
            session, resources, policies[row.policy], problems, method, f"evaluate {row}"
        )
        results[str(row)] = evaluate(outcomes[row], problems.problems, method.decoder, seed) | {
            "oracle": method.oracle,
            "cost_per_answer": per_answer(outcomes[row]),
            **problems.left_out,
        }
    for row in rows:
        if (other := reference_of(row, rows)) is not None:
            paired = compare(outcomes[other], outcomes[row], problems.problems, session.config.decoder, seed)
            results[str(row)] |= {"paired_with": str(other), "paired": paired}
    folder = session.folder
    judged = {str(row): (outcomes[row], problems.problems) for row in rows}
    session.write(lambda: write_outcomes(folder, judged))
    session.write(lambda: write_json_atomic(folder / "results.json", {"rows": results}))
    title = f"held-out problems of {session.config.dataset.name}{problems.note}"
    session.console.show(methods_table(results, title))
    session.write(lambda: write_text_atomic(folder / "report.md", methods_markdown(results, title)))
    session.console.say(f"results: {folder / 'results.json'}")
    last: float | None = results[str(rows[-1])]["pass@1"]
    return last


def reference_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The row to compare with: the samples of the same policy, or of the base policy for a row of samples."""
    policy = "base" if row.decoder == "sample" else row.policy
    reference = Row(policy, "sample")
    return reference if reference in rows and reference != row else None


def per_answer(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The mean cost of an answer."""
    total = sum((outcome.answer.cost for outcome in outcomes), Cost())
    return {key: value / max(1, len(outcomes)) for key, value in to_json(total).items()}
