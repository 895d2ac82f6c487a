"""The peaks of a decoding's memory on one device: sampling or searching, and rating with a scorer's model.

They are counted as in ``peaks.py``.  The policy stays in memory while the scorer rates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch

from restrl.config import Config, ModelConfig
from restrl.engine.registry import ENGINES
from restrl.model.geometry import Geometry
from restrl.model.peaks import Bytes, Parts, Peak, Run, activations, engine_rows, with_framework


def decode_peaks(
    config: Config,
    sizes: Geometry,
    trains: Iterable[str],
    device: torch.device,
    *,
    scorer: Geometry | None = None,
) -> list[Peak]:
    """The peaks of a run of ``decode.py``, which trains nothing.

    ``scorer``: sizes of its model; None: the decoder has no scorer, or one without a model.
    """
    del trains
    run, decoder = Run(config, sizes, device), config.decoder
    if decoder.name == "replay":
        return [with_framework(Peak("replay", {}), device)]
    kind = ENGINES[config.engine.name].weights
    rating = {} if scorer is None else _rating(config, scorer, device)
    held: Parts = {}
    rows: Parts = {}
    if kind != "none":  # else the samples come from the memory of another machine
        divisor = config.engine.tensor_parallel if kind == "copy" else 1
        held["parameters"] = sizes.parameters * run.sampling_bytes / divisor
        search = decoder.name == "mcts"
        sampling = decoder.mcts.sampling if search else decoder.sampling
        prompts = decoder.mcts.in_flight if search else config.engine.chunk_problems
        rows = engine_rows(run, sampling, prompts, run.sampling_bytes)
    what = "searching" if decoder.name == "mcts" else "sampling"
    # an engine with weights of its own keeps its memory for keys and values
    kept = {key: size for key, size in rows.items() if kind == "copy" and key != "logits"}
    weights = {key: size for key, size in rating.items() if key == "scorer"}
    # a search alternates between both models; otherwise the scorer is loaded when the samples are there
    found = [Peak(what, held | rows | (weights if decoder.name == "mcts" else {}))]
    if rating:
        found.append(Peak("rating", held | kept | rating))
    return [with_framework(peak, device) for peak in found]


def _rating(config: Config, sizes: Geometry, device: torch.device) -> Parts:
    """Weights of the scorer, without an output matrix, and the numbers in a layer that rates a batch."""
    run = Run(dataclasses.replace(config, model=ModelConfig()), sizes, device)
    item = run.sampling_bytes
    layer = activations(run, 1, config.scorer.tokens_per_batch, Bytes(item, item, item))
    return {"scorer": float((sizes.parameters - sizes.head) * item), "activations": layer}
