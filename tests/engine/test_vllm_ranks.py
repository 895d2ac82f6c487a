"""The real vLLM on two ranks: an engine of each, and one that they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed (make vllm)")

from restrl.config import EngineConfig
from restrl.engine.vllm_start import SHARED_MEMORY, team
from restrl.errors import UserError
from restrl.ranks import Ranks
from tests.engine.models import source
from tests.engine.vllm_models import saved, small_model
from tests.train.processes import run_ranks

pytestmark = pytest.mark.timeout(600)  # a busy machine is no failure
PROGRAM = """
import dataclasses, sys
from pathlib import Path
from restrl.ranks import connect, disconnect, ranks_of
ranks = ranks_of()
connect(ranks)
from restrl.config import EngineConfig
from restrl.engine.registry import engine_builder
from restrl.model.save import stored_form
from restrl.model.selfcheck import check_sampling
from restrl.records import Request
from restrl.search.forest import Services
from tests.engine.models import source
from tests.engine.vllm_models import LONG, PROMPTS, hf, sampled, small_model
folder, tensor_parallel = Path(sys.argv[1]), int(sys.argv[2])
model = small_model()
made = source(model, files=lambda: folder / "model", logs=folder / "logs")
made = dataclasses.replace(made, ranks=ranks)
config = EngineConfig(name="vllm", kv_gb=0.25, batch_size=48, tensor_parallel=tensor_parallel)
engine = engine_builder("vllm")(made, config)

def agrees(requests, other):
    ours, theirs = (one.generate(requests) for one in (engine, hf(other)))
    return [*map(sampled, ours)] == [*map(sampled, theirs)]

def requests(count):
    prompts = [*PROMPTS, LONG]
    return [Request((*prompts[i % 4], i + 9 * ranks.rank), 2, 12, temperature=0) for i in range(count)]

counted = []
engine.generate(requests(3), counted.append)
print("progress", sum(counted))
print("greedy", agrees(requests(3 + ranks.rank), model))
print("unequal", [agrees(requests(1), model) for _ in range(1 + 2 * ranks.rank)])
engine.settle()
print("none", engine.generate([]) if ranks.first else agrees(requests(2), model))
other = small_model(1)
engine.sync(stored_form(other))
check_sampling(engine, other)
print("synced", agrees(requests(2), other))
engine.settle()
engine.close()
ranks.wait()
disconnect(ranks)
"""


@pytest.fixture
def other_run() -> Iterator[Path]:
    """Shared memory under the name that vLLM gives to that of every run, as of a run that was killed."""
    path = SHARED_MEMORY / "-tp:0-[0-1]-cpushm_0"
    path.touch()
    yield path
    path.unlink()


@pytest.mark.usefixtures("other_run")
@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_each_rank_gets_the_samples_of_its_requests(tmp_path: Path, tensor_parallel: int) -> None:
    before = {path.name for path in SHARED_MEMORY.iterdir()}
    saved(small_model(), tmp_path / "model")
    for rank, output in enumerate(run_ranks(PROGRAM, 2, str(tmp_path), str(tensor_parallel))):
        assert output.splitlines() == [
            "progress 6",
            "greedy True",
            f"unequal {[True] * (1 + 2 * rank)}",
            f"none {True if rank else []}",
            "synced True",
        ]
    assert {path.name for path in SHARED_MEMORY.iterdir()} == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"tensor_parallel": 2},
            r"engine\.tensor_parallel=2: 3 ranks cannot be divided into groups of 2; use",
        ),
        ({"own_process": True}, r"engine\.own_process=true needs one process, and 3 ranks train"),
    ],
)
def test_ranks_that_cannot_be_divided_are_said(settings: dict[str, Any], message: str) -> None:
    made = dataclasses.replace(source(small_model()), ranks=Ranks(0, 3, 0))
    with pytest.raises(UserError, match=message):
        team(made, EngineConfig(name="vllm", **settings))
