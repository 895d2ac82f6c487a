"""Decoding: answers to the problems of a data set, or of several in one run, judged, in one table."""

from __future__ import annotations

import dataclasses
from typing import Any

from restrl.config import Config, DatasetConfig, DecoderConfig
from restrl.data.mixtures import datasets_of, folder_of
from restrl.data.source import file_in
from restrl.data.splits import Split
from restrl.evaluate.average import Part, average
from restrl.evaluate.curve import budget_curve
from restrl.evaluate.failures import explanation, failed
from restrl.evaluate.outcomes import write_outcomes
from restrl.evaluate.outputs import write_outputs
from restrl.evaluate.results import evaluate
from restrl.evaluate.table import results_table
from restrl.stages.answering import Question, answer_step, sampling_steps
from restrl.stages.curves import show_curves
from restrl.stages.evaluation import ORACLE, Method, configured_method, early_outcomes, show_trees
from restrl.stages.plan import Plan, Results, Step
from restrl.stages.resources import ProblemSet, Resources
from restrl.stages.session import Session
from restrl.stages.settings import SCORED


def decode(config: Config) -> Plan:
    """Answers all data sets of the run; the last step prints the table and writes the outputs."""
    steps: list[Step] = []
    datasets = datasets_of(config.dataset)
    for name, dataset in datasets.items():
        steps += _steps(config, name, dataset)
    answers = tuple(_answers_of(name) for name in datasets)
    return Plan([*steps, Step("report", _report, answers)], _check)


def _check(session: Session, resources: Resources) -> None:
    """The problems of all data sets first: what is missing is found before anything is sampled."""
    configured_method(session.config)
    for dataset in datasets_of(session.config.dataset).values():
        _problems(session.config, resources, dataset)


def _problems(config: Config, resources: Resources, dataset: DatasetConfig) -> ProblemSet:
    sampled = config.decoder.name != "replay"
    return resources.problems(split_of(config.decoder, dataset), sampled, dataset)


def _answers_of(name: str) -> str:
    return f"answers_{name}"


def _steps(config: Config, name: str, dataset: DatasetConfig) -> list[Step]:
    question = Question(
        name, lambda resources, _: resources.base, lambda resources: _problems(config, resources, dataset)
    )
    decoder = decoder_of(config, name, dataset)
    sampling = sampling_steps(question, decoder)
    title = f"decode ({decoder.name})" + (f" {name}" if config.dataset.parts else "")
    answers = answer_step(
        question,
        _answers_of(name),
        decoder,
        config.scorer.name,
        lambda _: Method(decoder, config.scorer),
        tuple(step.name for step in sampling),
        title,
    )
    return [*sampling, answers]


def split_of(decoder: DecoderConfig, dataset: DatasetConfig) -> Split:
    """``decoder.split``, by default heldout, or all if ``dataset.ids`` names the problems."""
    if decoder.split is None:
        return "heldout" if dataset.ids is None else "all"
    return decoder.split  # type: ignore[return-value]  # config_check allows the splits only


def decoder_of(config: Config, name: str, dataset: DatasetConfig) -> DecoderConfig:
    """The decoder for one of several data sets: with its ``max_tokens`` and its file of samples.

    If ``decoder.sampling.max_tokens`` is not that of the data sets, it holds for all of them.
    ``decoder.path`` is a folder with a file of samples for each.
    """
    decoder = config.decoder
    if not config.dataset.parts:
        return decoder
    if decoder.name == "replay" and decoder.path is not None:
        need = folder_of("decoder=replay of several data sets", config.dataset.parts, "decoder.path")
        return dataclasses.replace(decoder, path=file_in(decoder.path, name, need))
    if decoder.sampling.max_tokens != config.dataset.max_tokens:
        return decoder
    sampling = dataclasses.replace(decoder.sampling, max_tokens=dataset.max_tokens)
    searched = dataclasses.replace(decoder.mcts.sampling, max_tokens=dataset.max_tokens)
    mcts = dataclasses.replace(decoder.mcts, sampling=searched)
    return dataclasses.replace(decoder, sampling=sampling, mcts=mcts)


def _part(session: Session, problems: ProblemSet, name: str, decoder: DecoderConfig, answered: Any) -> Part:
    """The outcomes of one data set and their figures."""
    artifact, outcomes = answered
    seed = session.config.seed
    results = evaluate(outcomes, problems.problems, decoder, seed) | problems.left_out
    if decoder.name in SCORED and decoder.budgets:
        results["curve"] = budget_curve(early_outcomes(artifact), problems.problems, decoder, seed)
    if decoder.name == "replay" and results["unanswered"]:
        count = len({problem.task_id for problem in problems.problems} - {o.answer.task_id for o in outcomes})
        if count:
            session.console.say(
                f"{decoder.path}: no sample for {count} of {len(problems.problems)} problems of {name}"
            )
    if decoder.name == "mcts":
        folder = session.folder / name if session.config.dataset.parts else session.folder
        session.write(lambda: show_trees(artifact, folder))
    return Part(problems.problems, outcomes, results)


def _report(session: Session, resources: Resources, answers: Results) -> float | None:
    """Prints the table and writes the outputs.  Returns pass@1."""
    config, folder = session.config, session.folder
    datasets = datasets_of(config.dataset)
    problems = {name: _problems(config, resources, dataset) for name, dataset in datasets.items()}
    parts = {
        name: _part(
            session, problems[name], name, decoder_of(config, name, dataset), answers[_answers_of(name)]
        )
        for name, dataset in datasets.items()
    }
    method, several = configured_method(config), len(config.dataset.parts) > 0
    outcomes = [outcome for part in parts.values() for outcome in part.outcomes]
    names = [name for name, part in parts.items() for _ in part.outcomes] if several else None
    results: dict[str, Any]
    if several:
        results = average(parts, config.dataset.average, config.decoder, config.seed)
    else:
        results = next(iter(parts.values())).results
    results |= {"oracle": method.oracle}
    row = method.decoder.name
    named = {f"{row} {name}" if several else row: part for name, part in parts.items()}
    judged = {name: (part.outcomes, part.problems) for name, part in named.items()}
    session.write(lambda: write_outcomes(folder, judged))
    session.write(lambda: write_outputs(folder, outcomes, results, names))
    notes = "".join(
        f"; {name}{part.note}" if several else part.note for name, part in problems.items() if part.note
    )
    split = split_of(config.decoder, config.dataset)
    title = f"{config.decoder.name} on {config.dataset.name} ({split}{notes})"
    overall = "average" if several else "all"
    session.console.show(results_table(results, title + (ORACLE if method.oracle else ""), overall))
    curves = {name: part.results["curve"] for name, part in named.items() if "curve" in part.results}
    show_curves(session, curves)
    for outcome in failed(outcomes)[: config.decoder.explain]:
        session.console.say(explanation(outcome))
    places = ", ".join(str(answers[_answers_of(name)][0].folder) for name in datasets)
    session.console.say(f"results: {folder / 'results.json'} (artifact {places})")
    return results["pass@1"]  # type: ignore[no-any-return]
