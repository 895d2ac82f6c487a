"""Two ranks as ``trainer.devices=2`` starts them: the records of one process, also after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.stages.conftest import Workplace, make_workplace
from tests.stages.processes import ROOT, Strike, contents, timeless
from tests.stages.test_rest_rl import REST_RL
from tests.stages.test_search import COLLECT, DECODE, search_workplace

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
Weights = dict[str, torch.Tensor]
TWO = ("trainer=cpu", "trainer.devices=2")
ASSEMBLE = ("stage=assemble", "dataset.max_tokens=4", "grpo.sigma0=0.01")
BEST_OF_N = ("decoder=best_of_n", "scorer=verifier", "decoder.k=[1]")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """What one process makes."""
    workplace = search_workplace(tmp_path_factory.mktemp("alone"))
    for run in (
        workplace.train(*ASSEMBLE),
        workplace.train(*COLLECT),
        workplace.decode(*BEST_OF_N),
        workplace.decode(*DECODE),
    ):
        assert (run.code, run.err) == (0, "")
    return workplace


def rounded(data: Any) -> Any:
    """Log-probabilities depend on the batch in their last digits."""
    if isinstance(data, dict):
        return {key: rounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [rounded(item) for item in data]
    return round(data, 4) if isinstance(data, float) else data


def check_same(workplace: Workplace, alone: Workplace, steps: set[str]) -> None:
    found, wanted = rounded(contents(workplace.outputs)), rounded(contents(alone.outputs))
    assert {name.split("/")[1].split("-")[0] for name in found} == steps
    assert [name for name in found if found[name] != wanted[name]] == []
    journals = [*workplace.outputs.rglob("replies*"), *workplace.outputs.rglob("grown*")]
    assert journals == []


@pytest.fixture(scope="module")
def both_stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, Any]:
    """What one process trains, and how it is rated."""
    return trained(tmp_path_factory.mktemp("both"), "trainer=cpu")


def trained(folder: Path, *overrides: str) -> tuple[Weights, Any]:
    """The weights that a run of both stages leaves, by name, and its rows."""
    workplace = make_workplace(folder)
    run = workplace.train(*REST_RL, "grpo.lr=1e-3", *overrides)
    assert (run.code, run.err) == (0, "")
    return weights_of(workplace), timeless(workplace.results()["rows"])


def weights_of(workplace: Workplace) -> Weights:
    weights = {}
    for path in workplace.outputs.rglob("model.safetensors"):
        step = json.loads((path.parents[1] / "manifest.json").read_text())
        name = step["step"] + step["config"].get("vm", {}).get("targets", "")
        weights |= {f"{name} {key}": value for key, value in load_file(path).items()}
    return weights


def test_samples_and_start_states(tmp_path: Path, alone: Workplace) -> None:
    workplace = search_workplace(tmp_path)
    run = workplace.train(*ASSEMBLE, *TWO)
    assert (run.code, run.err) == (0, "")
    check_same(workplace, alone, {"sample", "assemble"})
    assert (workplace.last / "rank1.log").read_text() == ""
    assert run.out.count("start states: ") == 1


def test_searches_after_a_kill(tmp_path: Path, alone: Workplace) -> None:
    """Of the first rank, which ends both."""
    workplace = search_workplace(tmp_path)
    strike = Strike("restrl.stages.searches:SearchFiles.append", call=4)
    assert workplace.train(*COLLECT, *TWO, strikes=(strike,)).code == -9
    assert list(workplace.outputs.rglob("replies-1-of-2.jsonl"))
    run = workplace.train(*COLLECT, *TWO)
    assert (run.code, run.err) == (0, "")
    check_same(workplace, alone, {"collect"})


def test_answers_of_a_run_that_two_ranks_began(tmp_path: Path, alone: Workplace) -> None:
    workplace = search_workplace(tmp_path)
    second_chunk = Strike("restrl.stages.evaluation:judge_answers", call=2)
    assert workplace.decode(*BEST_OF_N, *TWO, strikes=(second_chunk,)).code == -9
    run = workplace.decode(*BEST_OF_N)
    assert (run.code, run.err) == (0, "")
    run = workplace.decode(*DECODE, *TWO)
    assert (run.code, run.err) == (0, "")
    assert timeless(workplace.lines("trees.jsonl")) == timeless(alone.lines("trees.jsonl"))
    check_same(workplace, alone, {"decode_samples", "evaluate"})


@pytest.mark.parametrize(("strategy", "most"), [("ddp", 1e-5), ("fsdp2", 1e-3), ("deepspeed_zero3", 1e-3)])
def test_both_stages_end_in_one_process_s_weights(
    tmp_path: Path, both_stages: tuple[Weights, Any], strategy: str, most: float
) -> None:
    """``most``: difference of the value model's weight.

    The ORM's loss begins at 3e-9, after ridge regression.  Adam makes steps of such gradients, which are not
    far from rounding, so it shows that two ranks divide a step into other micro-batches, and that a strategy
    adds in another order; see ``tests/train/test_divided.py`` for losses that are not zero.
    """
    alone, results = both_stages
    weights, rows = trained(tmp_path, f"trainer={strategy}", "trainer.devices=2", "trainer.accelerator=cpu")
    assert {name.split()[0] for name in alone} == {"grpo", "fitall", "fitterminal"}
    assert alone.keys() == weights.keys()
    allowed = {"grpo": 1e-5, "fitall": most, "fitterminal": 1e-3}
    for name in alone:
        difference = float((alone[name] - weights[name]).abs().max())
        assert difference < allowed[name.split()[0]], name
    assert rounded(rows) == rounded(results)


def test_bad_input_is_said_once(tmp_path: Path) -> None:
    workplace = search_workplace(tmp_path)
    run = workplace.decode(*BEST_OF_N, *TWO, "model=smollm2_135m", "model.path=./missing")
    assert run.code == 2
    assert run.err.startswith("error: model.path=./missing: no such folder, and a hub id")
    assert run.err.count("\n") == 1


def test_ranks_of_torchrun_leave_one_run_folder(tmp_path: Path) -> None:
    workplace = search_workplace(tmp_path)
    arguments = [
        "model=tiny", "dataset=jsonl", f"dataset.path={tmp_path / 'problems.jsonl'}", "decoder=greedy",
        "decoder.k=[1]", "decoder.bootstrap=100", "dataset.max_tokens=2", "dataset.heldout_fraction=0.4",
        "sandbox.workers=1", f"paths.outputs={workplace.outputs}", *TWO,
    ]  # fmt: skip
    places = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(30000 + os.getpid() % 10000)}
    runs = [
        subprocess.Popen(
            [sys.executable, "decode.py", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **places, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    (out, err), others = (run.communicate(timeout=200) for run in runs)
    assert [run.returncode for run in runs] == [0, 0], err + others[1]
    assert "results: " in out
    assert others == ("", "")
    (folder,) = (workplace.outputs / "runs" / "decode_greedy").iterdir()
    assert {"results.json", ".hydra", "decode.log"} <= {path.name for path in folder.iterdir()}
