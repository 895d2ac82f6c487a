"""python -m sweeps.report: cells, groups, marginal means, what is missing, and the files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from restrl.errors import UserError
from sweeps.cells import planned, read_sweep
from sweeps.report import main, missing_lines
from sweeps.statistics import figure, row_report, rows_of

PARAMS = {"grpo.sigma0": "0.0,0.05", "grpo.r0": "0.5,0.9", "seed": "0,1"}
PROBLEMS = [f"p{i}" for i in range(4)]


def overrides_of(sigma0="0.0", r0="0.5", seed="0"):
    return [f"grpo.sigma0={sigma0}", f"grpo.r0={r0}", f"seed={seed}", "sweep=small"]


def multirun(folder: Path, params=PARAMS, sweeper="hydra._internal.core_plugins.basic_sweeper.BasicSweeper"):
    folder.mkdir(parents=True, exist_ok=True)
    hydra = {"sweeper": {"_target_": sweeper, "params": params}, "overrides": {"task": ["sweep=small"]}}
    (folder / "multirun.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    return folder


def line(row, task_id, passed):
    rewards = [None if p is None else float(p) for p in passed]
    flags = [int(bool(p)) for p in passed]
    return {"row": row, "task_id": task_id, "cluster": task_id, "passed": flags, "rewards": rewards}


def run(folder: Path, number: int, overrides, rates=None, results=None):
    """A cell.  ``rates``: row -> number of the first problems that passed; None: it has no result yet."""
    cell = folder / f"{number}_cell"
    (cell / ".hydra").mkdir(parents=True)
    (cell / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    if rates is not None:
        lines = [line(row, p, [i < n]) for row, n in rates.items() for i, p in enumerate(PROBLEMS)]
        (cell / "outcomes.jsonl").write_text("".join(json.dumps(item) + "\n" for item in lines))
        (cell / "results.json").write_text(json.dumps(results or stage_1()))
    return cell


def stage_1(completions=100):
    policy = {"samples": 4, "cost": {"completions": 4, "seconds": 2.0}}
    training = {"completions": completions, "seconds": 10.0}
    return {"base": policy, "trained": policy, "training_cost": training}


@pytest.fixture
def whole(tmp_path):
    """Every cell: base solves 1 of 4 problems; trained 2, 1 more with sigma0=0.05, and with seed 1."""
    folder = multirun(tmp_path / "sweep")
    for number, cell in enumerate(planned(PARAMS, ["sweep=small"])):
        passed = 2 + (cell["grpo.sigma0"] == "0.05") - (cell["seed"] == "1")
        run(folder, number, [f"{k}={v}" for k, v in cell.items()], {"base": 1, "trained": passed})
    return folder


def test_runs_are_grouped_by_all_keys_but_the_seed(whole):
    sweep = read_sweep([whole])
    assert sweep.swept == ("grpo.sigma0", "grpo.r0")
    assert rows_of(sweep) == ["trained"]
    report = row_report(sweep, "trained")
    found = {group.values: group for group in report.groups}
    assert list(found) == [("0.0", "0.5"), ("0.0", "0.9"), ("0.05", "0.5"), ("0.05", "0.9")]
    group = found["0.0", "0.5"]
    # seed 0 solves 2 of 4, seed 1 solves 1: (2/4 + 1/4) / 2; base solves 1 with each
    assert (group.runs, group.pass_at_1.seeds) == (2, 2)
    assert group.pass_at_1.mean == pytest.approx(3 / 8)
    assert group.difference.mean == pytest.approx(1 / 8)
    low, high = group.difference.interval
    assert low < 1 / 8 < high
    assert group.cost == {
        "training completions": 100, "training seconds": 10,
        "completions per answer": 1, "seconds per answer": 0.5,
    }  # fmt: skip


def test_an_interval_is_cut_where_values_end():
    by_seed = {"0": [dict.fromkeys("ab", 1.0)], "1": [{"a": 0.0, "b": 1.0}]}
    cluster_of = {"a": "f", "b": "g"}
    assert figure(by_seed, cluster_of, 0.0).interval == (0.0, 1.0)
    assert figure(by_seed, cluster_of, -1.0).interval == (-1.0, 1.0)


def test_marginal_means_by_hand(whole):
    marginals = row_report(read_sweep([whole]), "trained").marginals
    means = {key: [(g.values, g.runs, g.pass_at_1.mean) for g in groups] for key, groups in marginals.items()}
    assert means == {  # sigma0: (2/4 + 1/4) / 2 and (3/4 + 2/4) / 2; r0 changes nothing
        "grpo.sigma0": [(("0.0",), 4, pytest.approx(3 / 8)), (("0.05",), 4, pytest.approx(5 / 8))],
        "grpo.r0": [(("0.5",), 4, pytest.approx(1 / 2)), (("0.9",), 4, pytest.approx(1 / 2))],
    }


def test_marginal_means_are_over_runs_that_every_value_has(whole):
    """Else sigma0=0.05 would look better by 1/16 only because a run with seed 1 is not finished."""
    (whole / "7_cell" / "results.json").unlink()  # sigma0=0.05, r0=0.9, seed=1
    marginals = row_report(read_sweep([whole]), "trained").marginals
    assert [group.runs for group in marginals["grpo.sigma0"]] == [3, 3]
    first, second = (group.pass_at_1.mean for group in marginals["grpo.sigma0"])
    assert second - first == pytest.approx(1 / 4)
    for number in (4, 5, 6):  # of sigma0=0.05 nothing is left to compare with
        (whole / f"{number}_cell" / "results.json").unlink()
    assert list(row_report(read_sweep([whole]), "trained").marginals) == ["grpo.r0"]


def test_one_seed_has_an_interval_over_problems(tmp_path):
    folder = multirun(tmp_path / "sweep", {"seed": "3"})
    run(folder, 0, ["seed=3"], {"base": 1, "trained": 2})
    (group,) = row_report(read_sweep([folder]), "trained").groups
    assert group.pass_at_1.seeds == 1
    assert group.pass_at_1.interval[0] < 0.5 < group.pass_at_1.interval[1]
    assert main([str(folder)]) == 0
    assert "the interval is over problems alone" in (folder / "sweep.md").read_text()


def test_differences_are_paired_and_leave_out_what_was_not_judged(tmp_path):
    folder = multirun(tmp_path / "sweep", {"seed": "0"})
    cell = run(folder, 0, ["seed=0", "sweep=small"], {})
    lines = [line("base", "p0", [1, 0]), line("base", "p1", [None]), line("base", "p2", [0])]
    lines += [line("trained", "p0", [1, 1]), line("trained", "p1", [1]), line("trained", "p2", [0, None])]
    (cell / "outcomes.jsonl").write_text("".join(json.dumps(item) + "\n" for item in lines))
    (group,) = row_report(read_sweep([folder]), "trained").groups
    assert group.pass_at_1.mean == pytest.approx((1 + 1 + 0) / 3)
    assert group.difference.mean == pytest.approx((1 / 2 + 0) / 2)  # p1 has no value with base


def test_what_is_missing_is_named(whole):
    for number in (4, 5, 6):
        (whole / f"{number}_cell" / "results.json").unlink()
    (whole / "4_cell" / "failure.txt").write_text("RuntimeError: out of memory\n")
    (whole / "5_cell" / "train.log").write_text("one\nstep 3 of 8\n")
    hidden = whole / "6_cell" / ".hydra" / "overrides.yaml"
    hidden.unlink()  # as if it had not started
    lines = missing_lines(read_sweep([whole]))
    assert lines[0] == "3 of 8 runs have no result"
    assert sorted(lines[1:]) == [
        "grpo.sigma0=0.05, grpo.r0=0.5, seed=0: failed: RuntimeError: out of memory",
        "grpo.sigma0=0.05, grpo.r0=0.5, seed=1: running or killed, last change 0 minutes ago: step 3 of 8",
        "grpo.sigma0=0.05, grpo.r0=0.9, seed=0: not started",
    ]


def test_a_sweep_without_any_result_is_reported(tmp_path, capsys):
    folder = multirun(tmp_path / "sweep")
    assert main([str(folder)]) == 0
    assert "8 of 8 runs have no result" in capsys.readouterr().out
    assert json.loads((folder / "sweep.json").read_text())["rows"] == []


def test_the_newest_finished_run_counts(whole, tmp_path):
    again = multirun(tmp_path / "again")
    run(again, 0, overrides_of(), {"base": 1, "trained": 4})
    run(again, 1, overrides_of(seed="1"))  # not finished: the older result stays
    os.utime(again / "0_cell" / "results.json", (2e9, 2e9))
    for folders in ([whole, again], [again, whole]):
        sweep = read_sweep(folders)
        assert len(sweep.cells) == 8
        group = next(g for g in row_report(sweep, "trained").groups if g.values == ("0.0", "0.5"))
        assert group.pass_at_1.mean == pytest.approx((4 / 4 + 1 / 4) / 2)
    os.utime(again / "0_cell" / "results.json", (1, 1))
    group = next(g for g in row_report(read_sweep([whole, again]), "trained").groups)
    assert group.pass_at_1.mean == pytest.approx(3 / 8)


def test_every_method_of_both_stages_has_a_table(tmp_path, capsys):
    folder = multirun(tmp_path / "sweep", {"evaluation.mcts.c": "0.1,0.2"})
    costs = {"completions": 16.0, "seconds": 3.0}
    rows = {
        "base sample": {"cost_per_answer": {"completions": 1.0, "seconds": 0.5}},
        "base mcts vm": {"cost_per_answer": costs, "paired_with": "base sample"},
    }
    for number, c in enumerate(("0.1", "0.2")):
        rates = {"base sample": 2, "base mcts vm": 3 + number}
        run(folder, number, [f"evaluation.mcts.c={c}", "sweep=small"], rates, {"rows": rows})
    sweep = read_sweep([folder])
    assert rows_of(sweep) == ["base sample", "base mcts vm"]
    searched = row_report(sweep, "base mcts vm")
    assert searched.reference == "base sample"
    assert [group.difference.mean for group in searched.groups] == pytest.approx([1 / 4, 2 / 4])
    assert searched.groups[0].cost == {"completions per answer": 16, "seconds per answer": 3}
    assert row_report(sweep, "base sample").groups[0].difference is None
    assert main([str(folder)]) == 0
    assert "## base mcts vm" in (folder / "sweep.md").read_text()
    assert main([str(folder), "--row", "base sample"]) == 0
    assert "## base mcts vm" not in (folder / "sweep.md").read_text()
    capsys.readouterr()
    assert main([str(folder), "--row", "nobody"]) == 2
    assert capsys.readouterr().err == (
        "error: --row nobody: no finished run has it; rows are base mcts vm, base sample\n"
    )


def test_a_multirun_of_decoders(tmp_path):
    folder = multirun(tmp_path / "sweep", {"decoder.sampling.temperature": "0.2,0.7"})
    results = {"samples": 8, "cost": {"completions": 8, "seconds": 4.0}}
    for number, value in enumerate(("0.2", "0.7")):
        overrides = [f"decoder.sampling.temperature={value}", "sweep=small"]
        run(folder, number, overrides, {"sample": 1 + number}, results)
    (only,) = [row_report(read_sweep([folder]), row) for row in rows_of(read_sweep([folder]))]
    assert (only.row, only.reference) == ("sample", None)
    assert [group.pass_at_1.mean for group in only.groups] == [1 / 4, 2 / 4]
    assert only.groups[0].cost == {"completions per answer": 1, "seconds per answer": 0.5}


def test_the_files(whole, capsys):
    assert main([str(whole), "--out", str(whole / "out")]) == 0
    assert "2 or 3 seeds hardly tell" in capsys.readouterr().out
    text = (whole / "out" / "sweep.md").read_text()
    assert "| 0.05 | 0.9 | 2 | 2 | 62.5 [" in text
    assert "## trained, mean over the other keys, by grpo.r0" in text
    data = json.loads((whole / "out" / "sweep.json").read_text())
    assert data["swept"] == ["grpo.sigma0", "grpo.r0"]
    assert data["rows"][0]["groups"][0]["pass_at_1"]["mean"] == pytest.approx(3 / 8)
    assert data["missing"] == []
    assert (whole / "out" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    page = (whole / "out" / "sweep.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert "<h2>trained</h2>" in page


def test_another_sweeper_plans_nothing(tmp_path):
    params = {"grpo.sigma0": "interval(0.0,0.2)"}
    folder = multirun(tmp_path / "sweep", params, "hydra_plugins.hydra_optuna_sweeper.OptunaSweeper")
    run(folder, 0, ["grpo.sigma0=0.1234"], {"base": 1, "trained": 2})
    assert [cell.overrides for cell in read_sweep([folder]).cells] == [{"grpo.sigma0": "0.1234"}]


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing", "missing: no such folder"), ("empty", "empty: no run of a multirun in it")],
)
def test_a_folder_without_a_sweep(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        read_sweep([tmp_path / name])


def test_runs_of_before_there_were_outcomes(whole):
    (whole / "0_cell" / "outcomes.jsonl").unlink()
    with pytest.raises(UserError, match=r"0_cell: outcomes\.jsonl is missing"):
        read_sweep([whole])
