"""Strategies that divide a model train what one process trains, and go on from each other's checkpoints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from restrl.errors import UserError
from restrl.ranks import ALONE
from restrl.train.checkpoint import END, AtomicCheckpointIO, latest_checkpoint
from tests.train import divided
from tests.train.divided import DIVIDED, everything
from tests.train.processes import ROOT, run_ranks
from tests.train.test_ranks import saved

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
TRAININGS = ("policy", "adapters", "skipped", "values", "orm", "value adapters", "dpo", "sft")
PROGRAM = "import sys, pathlib; from tests.train.divided import main; main(pathlib.Path(sys.argv[1]))"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process trains, with a thread as each rank: AdamW enlarges what sums round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return everything(tmp_path_factory.mktemp("alone"), "auto")
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks train under every strategy."""
    folder = tmp_path_factory.mktemp("two")
    run_ranks(PROGRAM, 2, str(folder))
    return folder


def assert_close(found: Any, wanted: Any) -> None:
    assert found["weights"].keys() == wanted["weights"].keys()
    for name, weight in wanted["weights"].items():
        torch.testing.assert_close(found["weights"][name], weight, rtol=0, atol=1e-5)
    rows = wanted["metrics"][found.get("from", 0) :]
    for row, expected in zip(found["metrics"], rows, strict=True):
        numbers = {key: value for key, value in expected.items() if "second" not in key}
        assert {key: row[key] for key in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-5)
        losses = {key: numbers[key] for key in ("loss", "mse", "grad_norm") if key in numbers}
        assert {key: row[key] for key in losses} == pytest.approx(losses, rel=1e-5, abs=1e-5)


def assert_equal(found: Any, wanted: Any) -> None:
    assert all(torch.equal(found["weights"][name], weight) for name, weight in wanted["weights"].items())


def test_the_toy_has_what_it_should(alone: dict[str, Any]) -> None:
    """Clipping, several micro-batches, and steps with one group."""
    rows = alone["policy"]["metrics"]
    assert max(row["grad_norm"] for row in rows if "grad_norm" in row) > divided.POLICY["clip_norm"]
    assert max(row["trained_groups"] for row in rows) > 1
    assert [row["skipped_updates"] for row in alone["skipped"]["metrics"]] == [0, 1, 0]
    assert any(row["trained_groups"] == 1 for row in alone["adapters"]["metrics"])
    assert max(row["grad_norm"] for row in alone["values"]["metrics"]) > divided.VALUES["clip_norm"]


@pytest.mark.parametrize(
    ("training", "name"),
    [*((training, name) for training in TRAININGS for name in DIVIDED), ("value adapters", "ddp")],
)
def test_two_ranks_train_what_one_trains(
    folder: Path, alone: dict[str, Any], name: str, training: str
) -> None:
    for rank in (0, 1):
        found = saved(folder, rank)[name][training]
        assert_close(found, alone[training])
        if "predictions" in found:
            assert found["predictions"] == pytest.approx(alone[training]["predictions"], abs=1e-5)


@pytest.mark.parametrize("name", DIVIDED)
def test_a_rank_holds_its_part(folder: Path, alone: dict[str, Any], name: str) -> None:
    for training, found in saved(folder, 1)[name].items():
        if training in ("policy", "values"):
            whole = alone[training]["held"]
            assert alone[training]["moments"] == whole
            assert found["moments"] <= 0.6 * whole
            assert found["held"] <= 0.6 * whole or name == "deepspeed_zero2"


@pytest.mark.parametrize("name", DIVIDED)
@pytest.mark.parametrize("training", ["policy", "adapters"])
def test_an_engine_with_weights_of_its_own_gets_them_whole(
    folder: Path, alone: dict[str, Any], name: str, training: str
) -> None:
    wanted = alone[training]["streamed"]
    for rank in (0, 1):
        found = saved(folder, rank)[name][training]["streamed"]
        assert found.keys() == wanted.keys()
        for key, weight in wanted.items():
            torch.testing.assert_close(found[key], weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", DIVIDED)
def test_resumed_it_gives_the_same_bits(folder: Path, name: str) -> None:
    for rank in (0, 1):
        found = saved(folder, rank)[name]
        assert found["resumed"]["from"] == 2
        assert_equal(found["resumed"], found["policy"])


@pytest.mark.parametrize("name", DIVIDED)
def test_each_rank_writes_its_part_of_a_checkpoint(folder: Path, name: str) -> None:
    checkpoint = folder / name / "interrupted" / "checkpoints" / "step-000002.ckpt"
    assert sorted(path.name for path in checkpoint.iterdir()) == [END, "rank0", "rank1"]
    whole, parts = AtomicCheckpointIO().load_checkpoint(checkpoint, weights_only=False), Counter[str]()
    for rank in ("rank0", "rank1"):
        part = torch.load(checkpoint / rank, weights_only=False)
        (optimizer,) = part["optimizer_states"]
        for key, tensor in [
            *part["state_dict"].items(),
            *((f"{i} {key}", t) for i, entries in optimizer["state"].items() for key, t in entries.items()),
        ]:
            parts[key] += 1
            parts[rank] += tensor.numel()
    total = parts.pop("rank0") + (second := parts.pop("rank1"))
    assert set(parts.values()) == {1}  # no tensor is in both
    assert 0.45 < second / total < 0.55
    (optimizer,) = whole["optimizer_states"]
    assert len(parts) == len(whole["state_dict"]) + 3 * len(optimizer["state"])


def test_a_checkpoint_that_lacks_a_part_is_passed_over(folder: Path, tmp_path: Path) -> None:
    checkpoints = folder / "fsdp2" / "interrupted" / "checkpoints"
    for path in checkpoints.iterdir():
        shutil.copytree(path, tmp_path / path.name)
    first, last = sorted(tmp_path.iterdir())
    assert latest_checkpoint(tmp_path) == last
    part = last / "rank1"
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=f"{last.name} is damaged and passed over"):
        assert latest_checkpoint(tmp_path) == first
    (first / END).unlink()
    with pytest.warns(UserWarning, match=f"{first.name} is damaged and passed over"):
        assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    "key", ["deepspeed_zero3 then ddp", "fsdp2 then deepspeed_zero2", "deepspeed_zero2 then fsdp2"]
)
def test_another_strategy_goes_on(folder: Path, alone: dict[str, Any], key: str) -> None:
    found = saved(folder, 1)[key]
    assert found["from"] == 2
    assert_close(found, alone["policy"])


@pytest.mark.parametrize("name", ["auto", "deepspeed_zero3_offload"])
def test_another_number_of_ranks_goes_on(
    folder: Path, tmp_path: Path, alone: dict[str, Any], name: str
) -> None:
    """One rank; offloading is for one device too."""
    step = "checkpoints/step-000002.ckpt"
    shutil.copytree(folder / "fsdp2" / "interrupted" / step, tmp_path / step)
    found = divided.policy(tmp_path, name, ALONE)
    assert found["from"] == 2
    assert_close(found, alone["policy"])


@pytest.mark.parametrize("key", ["fsdp2 bf16-true", *(f"{name} bf16-mixed" for name in DIVIDED)])
def test_bfloat16(folder: Path, key: str) -> None:
    """Updates of 1e-7 survive in the float32 weights beside bfloat16; without, most are lost."""
    start = divided.toy.tiny_model().state_dict()
    found = saved(folder, 0)[key]
    for name, weight in found["weights"].items():
        if key.endswith("true"):
            assert weight.dtype == torch.bfloat16
            assert (weight == start[name].bfloat16()).float().mean() > 0.9  # but for those near 0
        else:
            assert weight.dtype == torch.float32
            assert 0 < float((weight - start[name]).abs().max()) < 2e-6


def test_a_value_model_s_head_stays_float32(folder: Path, alone: dict[str, Any]) -> None:
    found = saved(folder, 1)["value model in bf16-true"]
    dtypes = {name: weight.dtype for name, weight in found["weights"].items()}
    assert dtypes.pop("score.weight") == torch.float32
    assert set(dtypes.values()) == {torch.bfloat16}
    last, wanted = found["metrics"][-1]["heldout_mse"], alone["values"]["metrics"][-1]["heldout_mse"]
    assert last == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("name", ["fsdp2", "deepspeed_zero3"])
def test_a_killed_rank_ends_the_other_and_the_same_command_goes_on(
    folder: Path, tmp_path: Path, name: str
) -> None:
    command = [sys.executable, "-m", "tests.train.divided", name, str(tmp_path)]
    run = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"KILL": "1"}, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 1, run.stderr
    assert "error: rank 1 was killed by SIGKILL; " in run.stderr
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert saved(tmp_path, 1)["from"] == 2
    assert_equal(saved(tmp_path, 1), saved(folder, 1)[name]["policy"])


def test_it_says_what_does_not_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bf16-true: DeepSpeed keeps float32 weights"):
        divided.policy(tmp_path, "deepspeed_zero2", ALONE, precision="bf16-true")
    monkeypatch.setattr("restrl.train.strategies.zero.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"DeepSpeed is not installed; install it: .*deepspeed==0.19.8"):
        divided.policy(tmp_path, "deepspeed_zero2", ALONE)
