"""Two ranks train what one process trains: the same steps, and the same weights but for the order of sums."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from restrl.config import ObjectiveConfig
from tests.train import test_fit, toy
from tests.train.processes import run_ranks, start_ranks
from tests.train.test_ahead import OVERLAP, FollowingEngine

POLICY = """
import sys, pathlib, torch
from restrl.config import ObjectiveConfig, TrainerConfig
from restrl.ranks import connect, disconnect, ranks_of
from tests.train.toy import run, ToyJudge
ranks = ranks_of()
connect(ranks)
folder, wait = pathlib.Path(sys.argv[1]), float(sys.argv[2])
class Slow(ToyJudge):
    def judge(self, items):
        if self.calls == 3 and wait:
            import time
            if ranks.first: (folder / "waiting").touch()
            time.sleep(wait)
        return super().judge(items)
model, result = run(folder, trainer=TrainerConfig(accelerator="cpu", devices=ranks.size), ranks=ranks,
                    judge=Slow(), objective=ObjectiveConfig(kl=0.05), updates_per_step=2,
                    tokens_per_microbatch=12)
torch.save({"weights": model.state_dict(), "metrics": result.metrics, "from": result.resumed_from},
           folder / f"rank{ranks.rank}.pt")
disconnect(ranks)
"""
AHEAD = """
import sys, pathlib, torch
from restrl.config import TrainerConfig
from restrl.ranks import connect, disconnect, ranks_of
from tests.train.test_ahead import OVERLAP, FollowingEngine
from tests.train.toy import run
ranks = ranks_of()
connect(ranks)
folder = pathlib.Path(sys.argv[1])
model, result = run(folder, trainer=TrainerConfig(accelerator="cpu", devices=ranks.size), ranks=ranks,
                    engine=FollowingEngine(), **OVERLAP)
torch.save({"weights": model.state_dict(), "metrics": result.metrics}, folder / f"rank{ranks.rank}.pt")
disconnect(ranks)
"""
VALUES = """
import sys, pathlib, torch
from restrl.config import TrainerConfig
from restrl.ranks import connect, disconnect, ranks_of
from tests.train.test_fit import run
ranks = ranks_of()
connect(ranks)
folder = pathlib.Path(sys.argv[1])
model, result = run(folder, trainer=TrainerConfig(accelerator="cpu", devices=ranks.size), ranks=ranks,
                    head_init="ridge", tokens_per_microbatch=12)
torch.save({"weights": model.state_dict(), "metrics": result.metrics, "predictions": result.predictions},
           folder / f"rank{ranks.rank}.pt")
disconnect(ranks)
"""


def saved(folder: Path, rank: int) -> Any:
    return torch.load(folder / f"rank{rank}.pt", weights_only=False)


def assert_equal(found: Any, model: Any, metrics: Any) -> None:
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(found["weights"][name], weight, rtol=0, atol=1e-5)
    assert len(found["metrics"]) == len(metrics)
    for row, expected in zip(found["metrics"], metrics, strict=True):
        numbers = {k: v for k, v in expected.items() if "second" not in k}
        assert {k: row[k] for k in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-5)


def one_process(folder: Path) -> tuple[Any, Any]:
    return toy.run(folder, objective=ObjectiveConfig(kl=0.05), updates_per_step=2, tokens_per_microbatch=12)


def test_a_policy(tmp_path: Path) -> None:
    model, result = one_process(tmp_path / "one")
    (tmp_path / "two").mkdir()
    run_ranks(POLICY, 2, str(tmp_path / "two"), "0")
    first, second = saved(tmp_path / "two", 0), saved(tmp_path / "two", 1)
    assert_equal(first, model, result.metrics)
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name])
    assert first["metrics"] == second["metrics"]  # the first rank's file


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_and_resumed(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C and SIGTERM, to all ranks, save the step that is running; a killed rank ends the others."""
    model, result = one_process(tmp_path / "one")
    folder = tmp_path / "two"
    folder.mkdir()
    processes = start_ranks(POLICY, 2, str(folder), "2")
    try:
        while not (folder / "waiting").exists():
            assert all(process.poll() is None for process in processes)
            time.sleep(0.05)
        for process in processes[1:] if how == signal.SIGKILL else processes:
            process.send_signal(how)
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    codes = [process.returncode for process in processes]
    assert codes == [143, 143] if how == signal.SIGTERM else 0 not in codes, outputs
    run_ranks(POLICY, 2, str(folder), "0")
    assert saved(folder, 0)["from"] == (2 if how == signal.SIGKILL else 4)  # the step that ran was the fourth
    assert_equal(saved(folder, 0), model, result.metrics)


def test_a_policy_that_is_sampled_ahead(tmp_path: Path) -> None:
    """The ranks' threads exchange rollouts while the ranks exchange gradients."""
    model, result = toy.run(tmp_path / "one", engine=FollowingEngine(), **OVERLAP)
    (tmp_path / "two").mkdir()
    run_ranks(AHEAD, 2, str(tmp_path / "two"))
    assert_equal(saved(tmp_path / "two", 0), model, result.metrics)


def test_a_value_model(tmp_path: Path) -> None:
    model, result = test_fit.run(tmp_path / "one", head_init="ridge", tokens_per_microbatch=12)
    (tmp_path / "two").mkdir()
    run_ranks(VALUES, 2, str(tmp_path / "two"))
    found = saved(tmp_path / "two", 1)
    assert_equal(found, model, result.metrics)
    assert found["predictions"] == pytest.approx(result.predictions, abs=1e-5)
