"""The decoders by name."""

from __future__ import annotations

from restrl.decode.base import DecodeJob, Decoder
from restrl.decode.best_of_n import best_of_n
from restrl.decode.mcts import mcts
from restrl.decode.replay import replay
from restrl.decode.sampling import greedy, sample
from restrl.errors import UserError
from restrl.records import Answer

DECODERS: dict[str, Decoder] = {
    "greedy": greedy,
    "sample": sample,
    "best_of_n": best_of_n,
    "mcts": mcts,
    "replay": replay,
}


def decode(job: DecodeJob) -> list[Answer]:
    """The answers of the decoder ``job.config.name``.  Raises UserError for an unknown name or a bad k."""
    if job.config.name not in DECODERS:
        raise UserError(f"decoder.name: {job.config.name!r} is none of {', '.join(sorted(DECODERS))}")
    if bad := [k for k in job.config.k if k < 1]:
        raise UserError(f"decoder.k: {bad[0]} is no number of samples; each k is at least 1")
    return DECODERS[job.config.name](job)
