"""Ranks: division and merging of work, and agreement, with real processes."""

import subprocess
import sys

import pytest

from restrl.ranks import Ranks, meeting_point, ranks_of
from tests.train.processes import free_port

PROGRAM = """
import sys
from restrl.ranks import Ranks, connect, disconnect
rank, size, port = map(int, sys.argv[1:])
import os
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
ranks = Ranks(rank, size, rank)
connect(ranks)
items = list(range(7))
done = [(item, rank) for item in ranks.share(items)]
print(ranks.merge(done), ranks.agree(f"of {rank}"), ranks.gather(rank), ranks.total({"n": rank + 0.5}))
try:
    ranks.merge([0] * (rank + 1) * 2)
except ValueError as error:
    print(error)
team = ranks.team(2) if size == 4 else ranks.team(1)
print(team.rank, team.size, team.gather(rank), team.agree(f"of {rank}"))
disconnect(ranks)
"""


def run_ranks(program, size, port):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), str(size), str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * size
    return outputs


def test_three_processes_divide_merge_and_agree():
    outputs = run_ranks(PROGRAM, 3, free_port())
    merged = [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2), (6, 0)]
    assert outputs[0].splitlines()[0] == f"{merged} of 0 [0, 1, 2] {{'n': 4.5}}"
    assert "these are not the shares of one list" in outputs[0]
    assert [output.splitlines()[:-1] for output in outputs] == [outputs[0].splitlines()[:-1]] * 3
    assert [output.splitlines()[-1] for output in outputs] == [f"0 1 [{rank}] of {rank}" for rank in range(3)]


def test_teams_of_two_processes_agree_among_themselves():
    lines = [output.splitlines()[-1] for output in run_ranks(PROGRAM, 4, free_port())]
    assert lines == ["0 2 [0, 1] of 0", "1 2 [0, 1] of 0", "0 2 [2, 3] of 2", "1 2 [2, 3] of 2"]


def test_teams_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 ranks cannot be divided into teams of 2"):
        Ranks(0, 3).team(2)


def test_one_process_sends_nothing():
    alone = Ranks()
    assert alone.first
    assert alone.share("abc") == ["a", "b", "c"]
    assert alone.merge([1, 2]) == [1, 2]
    assert alone.agree(5) == 5
    assert alone.gather(5) == [5]
    assert alone.total({"x": 2.0}) == {"x": 2.0}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Ranks()),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Ranks(3, 4, 1)),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "0"}, Ranks(2, 4, 0)),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Ranks()),  # the batch script of four tasks
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"}, Ranks(1, 2, 1)),
    ],
)
def test_who_this_process_is(environment, expected):
    assert ranks_of(environment) == expected


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("node[07-09,12],other3", "node07"), ("a1,a2", "a1"), ("gpu[3,5]", "gpu3"), ("alone", "alone")],
)
def test_where_ranks_of_srun_meet(nodes, first):
    environment = {"SLURM_STEP_NODELIST": nodes, "SLURM_JOB_ID": "1234567"}
    assert meeting_point(environment) == {"MASTER_ADDR": first, "MASTER_PORT": "19567"}
    assert meeting_point({}) == {}
