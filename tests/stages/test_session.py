"""Devices of ranks, and the division of a step's items among them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from restrl.config import Config, PathsConfig, SandboxConfig, TrainerConfig
from restrl.errors import UserError
from restrl.ranks import ALONE, Ranks
from restrl.records import Answer, Cost
from restrl.stages.chunks import COSTS, in_chunks
from restrl.stages.resources import divided
from restrl.stages.session import device_of, new_session
from tests.thread_ranks import on_ranks


def test_each_rank_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of(TrainerConfig(), ALONE) == torch.device("cuda")
    assert device_of(TrainerConfig(devices=2, num_nodes=2), Ranks(3, 4, 1)) == torch.device("cuda", 1)
    assert device_of(TrainerConfig(accelerator="cpu", devices=3), Ranks(2, 3, 2)) == torch.device("cpu")
    with pytest.raises(UserError, match=r"trainer.devices=3: this machine shows 2 GPUs; use as many"):
        device_of(TrainerConfig(devices=3), ALONE)


def test_ranks_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [divided(SandboxConfig(), ranks).workers for ranks in (1, 2, 3, 99)] == [None, 4, 2, 1]
    assert divided(SandboxConfig(workers=5), 2).workers == 5


@pytest.mark.parametrize("left", [0, 3, 4, 7])
def test_chunks_are_divided_and_come_in_order(tmp_path: Path, left: int) -> None:
    """Seven items in chunks of three; an earlier run left some records."""
    config = Config(paths=PathsConfig(outputs=str(tmp_path)), trainer=TrainerConfig(accelerator="cpu"))
    items = [Answer(str(i), i, "") for i in range(7)]
    with new_session(config).store.open("sample", {}, {}) as work:
        work.records(Answer).append(items[:left])
        work.records(Cost, COSTS).append([Cost(1)] * -(-left // 3))

    def run(ranks: Ranks) -> tuple[list[list[int]], list[int]]:
        shares: list[list[int]] = []
        resumed: list[int] = []

        def make(share):
            shares.append([answer.sample for answer in share])
            return list(share), Cost(len(share), seconds=1.0)

        session = new_session(config, ranks=ranks)
        with session.store.open("sample", {}, {}) as work:
            cost = in_chunks(session, work, Answer, items, 3, make, lambda found: resumed.append(len(found)))
        assert (cost.completions, cost.seconds) == (7 - done + done // 3 + (left == 7), len(chunks))
        return shares, resumed

    done = 7 if left == 7 else left // 3 * 3
    chunks = [range(start, min(start + 3, 7)) for start in range(done, 7, 3)]
    expected = [
        ([[i for i in chunk if (i - chunk[0]) % 2 == rank] for chunk in chunks], [done]) for rank in (0, 1)
    ]
    assert on_ranks(2, run) == expected
    with new_session(config).store.open("sample", {}, {}) as work:
        assert list(work.records(Answer).read()) == items
