"""Decoding: answers to the problems of a data set, or of several in one run, judged, in one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from restrl.artifacts import Artifact
from restrl.config import Config, DatasetConfig, DecoderConfig
from restrl.data.mixtures import datasets_of, folder_of
from restrl.data.source import file_in
from restrl.data.splits import Split
from restrl.evaluate.average import Part, average
from restrl.evaluate.failures import explanation, failed
from restrl.evaluate.outcomes import write_outcomes
from restrl.evaluate.outputs import write_outputs
from restrl.evaluate.results import evaluate
from restrl.evaluate.table import results_table
from restrl.stages.evaluation import ORACLE, Method, configured_method, evaluate_step, show_trees
from restrl.stages.resources import ProblemSet, Resources
from restrl.stages.session import Session


def decode(session: Session, resources: Resources) -> float | None:
    """Answers all data sets of the run, prints the table and writes the outputs.  Returns pass@1."""
    config = session.config
    method = configured_method(config)
    datasets = datasets_of(config.dataset)
    # the problems of all data sets first: what is missing is found before anything is sampled
    sampled = config.decoder.name != "replay"
    problems = {
        name: resources.problems(split_of(config.decoder, dataset), sampled, dataset)
        for name, dataset in datasets.items()
    }
    parts: dict[str, Part] = {}
    places: list[str] = []
    for name, dataset in datasets.items():
        own = Method(decoder_of(config, name, dataset), method.scorer)
        parts[name], artifact = _answered(session, resources, problems[name], own, name)
        places.append(str(artifact.folder))
    results = _report(session, parts, problems, method)
    session.console.say(f"results: {session.folder / 'results.json'} (artifact {', '.join(places)})")
    return results["pass@1"]  # type: ignore[no-any-return]


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


def _answered(
    session: Session, resources: Resources, problems: ProblemSet, method: Method, name: str
) -> tuple[Part, Artifact]:
    config, decoder = session.config, method.decoder
    several = len(config.dataset.parts) > 0
    title = f"decode ({decoder.name})" + (f" {name}" if several else "")
    artifact, outcomes = evaluate_step(session, resources, resources.base, problems, method, title)
    results = evaluate(outcomes, problems.problems, decoder, config.seed) | problems.left_out
    if decoder.name == "replay" and results["unanswered"]:
        count = len({problem.task_id for problem in problems.problems} - {o.answer.task_id for o in outcomes})
        if count:
            session.console.say(
                f"{decoder.path}: no sample for {count} of {len(problems.problems)} problems of {name}"
            )
    if decoder.name == "mcts":
        folder = session.folder / name if several else session.folder
        session.write(lambda: show_trees(artifact, folder))
    return Part(problems.problems, outcomes, results), artifact


def _report(
    session: Session,
    parts: Mapping[str, Part],
    problems: Mapping[str, ProblemSet],
    method: Method,
) -> dict[str, Any]:
    """Writes the outputs and prints the table; returns the results."""
    config, folder = session.config, session.folder
    several = len(config.dataset.parts) > 0
    outcomes = [outcome for part in parts.values() for outcome in part.outcomes]
    names = [name for name, part in parts.items() for _ in part.outcomes] if several else None
    results: dict[str, Any]
    if several:
        results = average(parts, config.dataset.average, config.decoder, config.seed)
    else:
        results = next(iter(parts.values())).results
    results |= {"oracle": method.oracle}
    row = method.decoder.name
    judged = {f"{row} {n}" if several else row: (p.outcomes, p.problems) for n, p in parts.items()}
    session.write(lambda: write_outcomes(folder, judged))
    session.write(lambda: write_outputs(folder, outcomes, results, names))
    notes = "".join(
        f"; {name}{part.note}" if several else part.note for name, part in problems.items() if part.note
    )
    split = split_of(config.decoder, config.dataset)
    title = f"{config.decoder.name} on {config.dataset.name} ({split}{notes})"
    overall = "average" if several else "all"
    session.console.show(results_table(results, title + (ORACLE if method.oracle else ""), overall))
    for outcome in failed(outcomes)[: config.decoder.explain]:
        session.console.say(explanation(outcome))
    return results
