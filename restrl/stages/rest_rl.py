"""Both stages of ReST-RL (arXiv 2508.19576), then a table that compares methods on the held-out problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from restrl.artifacts import Artifact
from restrl.config import Config, DecoderConfig, ScorerConfig, VmConfig
from restrl.evaluate.average import paired_with_average, with_average
from restrl.evaluate.curve import budget_curve, curve_lines
from restrl.evaluate.methods import methods_markdown, methods_table
from restrl.evaluate.outcomes import write_outcomes
from restrl.evaluate.results import compare, evaluate
from restrl.evaluate.table import markdown_table
from restrl.files import write_json_atomic, write_text_atomic
from restrl.model.value import check_value_class
from restrl.records import Cost, Outcome, to_json
from restrl.stages.answering import Question, answer_step, sampling_steps
from restrl.stages.collect import collect_step
from restrl.stages.curves import TITLE, show_curves
from restrl.stages.evaluation import Method, early_outcomes
from restrl.stages.fit import fit_step
from restrl.stages.plan import Plan, Results, Step
from restrl.stages.resources import PolicyRef, Resources
from restrl.stages.rest_grpo import after, iteration_steps, policy_after
from restrl.stages.session import Session
from restrl.stages.settings import SCORED

FITTED = ("vm", "prm", "orm")  # scorers that are fitted to the collected trees


@dataclass(frozen=True)
class Row:
    """A method of the table: the policy that samples, the decoder, and the scorer that chooses."""

    policy: str
    decoder: str
    scorer: str = "none"
    greedy_first: bool = False
    vote: bool = False

    def __str__(self) -> str:
        chooser = "" if self.scorer == "none" else f" {self.scorer}"
        options = " greedy_first" * self.greedy_first + " vote" * self.vote
        return f"{self.policy} {self.decoder}{chooser}{options}"


def rest_rl(config: Config) -> Plan:
    """Both stages, then the table; the result is pass@1 of its last row."""
    rows = [Row(**dataclasses.asdict(row)) for row in config.evaluation.rows]
    last = after(config, config.grpo.iterations)  # what makes the trained policy
    steps = iteration_steps(config, config.grpo.iterations)
    steps.append(Step("collect", _collect(config), last, "model", divisible=True))
    for name in FITTED:
        if any(row.scorer == name for row in rows):
            steps.append(Step(f"fit_{name}", _fit(config, name), (*last, "collect"), "training"))
    for row in rows:
        known = {step.name for step in steps}
        steps += [step for step in _row_steps(config, row) if step.name not in known]
    answers = tuple(answers_of(row) for row in rows)
    report = Step(
        "report", lambda session, resources, results: _report(session, resources, rows, results), answers
    )
    return Plan([*steps, report], _check)


def _check(session: Session, resources: Resources) -> None:
    resources.problems("heldout")
    check_value_class(resources.base.model, session.config.paths)


def _policy(config: Config, row: Row) -> Callable[[Resources, Results], PolicyRef]:
    t = config.grpo.iterations if row.policy == "trained" else 0
    return lambda resources, results: policy_after(t, resources, results)


def _collect(config: Config) -> Any:
    return lambda session, resources, results: collect_step(
        session, resources, policy_after(config.grpo.iterations, resources, results)
    )


def _vm_of(config: Config, scorer: str) -> VmConfig:
    """The configured settings of the fit, as one of the ``FITTED`` needs them."""
    vm = config.vm
    if scorer == "prm":
        label = "soft" if vm.label == "value" else vm.label
        return dataclasses.replace(vm, head="prob", targets="all", label=label)
    return dataclasses.replace(vm, label="value", targets="terminal" if scorer == "orm" else vm.targets)


def _fit(config: Config, name: str) -> Any:
    vm = _vm_of(config, name)

    def run(session: Session, resources: Resources, results: Results) -> tuple[ScorerConfig, Artifact]:
        policy = policy_after(config.grpo.iterations, resources, results)
        return fit_step(session, resources, policy, results["collect"], vm)

    return run


def answers_of(row: Row) -> str:
    """The name of the step that answers for the row."""
    return f"answers_{str(row).replace(' ', '_')}"


def _row_steps(config: Config, row: Row) -> list[Step]:
    """What the row's policy samples for it, and its answers."""
    trained = after(config, config.grpo.iterations) if row.policy == "trained" else ()
    question = Question(
        row.policy, _policy(config, row), lambda resources: resources.problems("heldout"), trained
    )
    decoder = method_of(config, row, ScorerConfig()).decoder
    sampling = sampling_steps(question, decoder)
    fitted = (f"fit_{row.scorer}",) if row.scorer in FITTED else ()

    def method(results: Results) -> Method:
        scorer = results[fitted[0]][0] if fitted else ScorerConfig(name=row.scorer)
        return method_of(config, row, scorer)

    needs = (*(step.name for step in sampling), *fitted)
    answers = answer_step(question, answers_of(row), decoder, row.scorer, method, needs, f"evaluate {row}")
    return [*sampling, answers]


def method_of(config: Config, row: Row, scorer: ScorerConfig) -> Method:
    """The configured decoder settings with the row's decoder and the common number of completions."""
    evaluation, sampling = config.evaluation, config.decoder.sampling
    sampling = dataclasses.replace(sampling, n=1 if row.decoder == "greedy" else evaluation.completions)
    mcts = dataclasses.replace(evaluation.mcts, completions=evaluation.completions)
    answers = evaluation.answers if row.decoder in SCORED else 1
    k = sorted({1, answers if row.decoder in SCORED else sampling.n})
    decoder: DecoderConfig = dataclasses.replace(
        config.decoder, name=row.decoder, split="heldout", sampling=sampling, answers=answers, mcts=mcts, k=k,
        budgets=evaluation.budgets if row.decoder in SCORED else [], greedy_first=row.greedy_first,
        vote=row.vote,
    )  # fmt: skip
    return Method(decoder, scorer)


def _report(session: Session, resources: Resources, rows: Sequence[Row], answers: Results) -> float | None:
    """Prints the table and writes ``results.json`` and ``report.md``.  Returns pass@1 of the last row."""
    problems, seed = resources.problems("heldout"), session.config.seed
    among, groups = problems.problems, session.config.dataset.average
    outcomes: dict[Row, list[Outcome]] = {row: answers[answers_of(row)][1] for row in rows}
    results: dict[str, dict[str, Any]] = {}
    for row in rows:
        method = method_of(session.config, row, ScorerConfig(name=row.scorer))
        evaluated = evaluate(outcomes[row], among, method.decoder, seed)
        evaluated = with_average(evaluated, outcomes[row], among, groups, method.decoder, seed)
        results[str(row)] = evaluated | {
            "oracle": method.oracle,
            "cost_per_answer": per_answer(outcomes[row]),
            **problems.left_out,
        }
        if row.decoder in SCORED and method.decoder.budgets:
            early = early_outcomes(answers[answers_of(row)][0])
            curve = budget_curve(early, among, method.decoder, seed)
            results[str(row)]["curve"] = curve
    for row in rows:
        if (other := reference_of(row, rows)) is not None:
            both, decoder = (outcomes[other], outcomes[row]), session.config.decoder
            paired = compare(*both, among, decoder, seed)
            paired = paired_with_average(paired, *both, among, groups, decoder, seed)
            results[str(row)] |= {"paired_with": str(other), "paired": paired}
    folder = session.folder
    judged = {str(row): (outcomes[row], among) for row in rows}
    session.write(lambda: write_outcomes(folder, judged))
    session.write(lambda: write_json_atomic(folder / "results.json", {"rows": results}))
    title = f"held-out problems of {session.config.dataset.name}{problems.note}"
    session.console.show(methods_table(results, title))
    curves = {name: result["curve"] for name, result in results.items() if "curve" in result}
    show_curves(session, curves)
    text = methods_markdown(results, title)
    text += f"\n## {TITLE}\n\n{markdown_table(curve_lines(curves))}\n" if curves else ""
    session.write(lambda: write_text_atomic(folder / "report.md", text))
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
