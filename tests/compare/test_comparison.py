"""Finished runs side by side: hand-derived figures, a run with itself, coverage, the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from restrl.compare.__main__ import main
from restrl.compare.comparison import Side, compare_sides
from restrl.compare.runs import read_sides
from restrl.errors import UserError
from restrl.evaluate.outcomes import ProblemOutcome
from restrl.records import to_json


def outcome(row: str, task: str, rewards: Sequence[float | None], family: str = "") -> ProblemOutcome:
    passed = tuple(int(reward == 1) for reward in rewards)
    return ProblemOutcome(row, task, family or f"problem {task}", passed, tuple(rewards))


def side(name: str, **rewards: Sequence[float | None]) -> Side:
    return Side(name, {task: outcome(name, task, found) for task, found in rewards.items()})


BEFORE = side("before", a=[1, 1], b=[1, 0.5], c=[0, 0.5], d=[0, 0], e=[None, None], f=[1, 1])
AFTER = side("after", a=[1, 0], b=[0, 0], c=[1, None], d=[1, 1], e=[1, 1])


def test_figures_and_changes_equal_the_hand_derived_example() -> None:
    # common problems: a b c d (e was not judged before, f not answered after)
    # pass@1 before: 1, 1/2, 0, 0 -> 3/8; after: 1/2, 0, 1, 1 -> 5/8; difference 1/4
    # reward before: 1, 3/4, 1/4, 0 -> 1/2; after: 1/2, 0, 1, 1 -> 5/8; difference 1/8
    found = compare_sides([BEFORE, AFTER])
    assert (found.problems, found.families, found.left_out) == (4, 4, 2)
    before, after = found.sides
    assert [before.metrics[m].mean for m in ("pass@1", "mean_reward")] == [3 / 8, 1 / 2]
    assert [after.metrics[m].mean for m in ("pass@1", "mean_reward")] == [5 / 8, 5 / 8]
    assert [after.differences[m].mean for m in ("pass@1", "mean_reward")] == [1 / 4, 1 / 8]
    low, high = after.differences["pass@1"].interval or (0, 0)
    assert low < 1 / 4 < high
    # solved before: a, b; after: a (half of the samples), c, d
    assert [(c.task_id, c.before, c.after) for c in after.gained] == [("c", 0, 1), ("d", 0, 1)]
    assert [(c.task_id, c.before, c.after) for c in after.lost] == [("b", 0.5, 0)]


def test_a_run_with_itself_differs_by_exactly_nothing() -> None:
    first, second = compare_sides([BEFORE, BEFORE]).sides
    for metric in ("pass@1", "mean_reward"):
        assert second.differences[metric].mean == 0
        assert second.differences[metric].interval == (0, 0)
        assert first.metrics[metric] == second.metrics[metric]
    assert (second.gained, second.lost) == ((), ())


def test_the_other_way_round_the_signs_change() -> None:
    there, back = compare_sides([BEFORE, AFTER]).sides[1], compare_sides([AFTER, BEFORE]).sides[1]
    assert back.differences["pass@1"].mean == -there.differences["pass@1"].mean
    assert [c.task_id for c in back.lost] == [c.task_id for c in there.gained]


def test_runs_on_other_problems_are_refused() -> None:
    with pytest.raises(UserError, match="before, other: no problem was answered by all of them"):
        compare_sides([BEFORE, side("other", x=[1])])


def test_intervals_cover_at_their_rate() -> None:
    """95 +- 2 % of 600 simulated comparisons, of 40 families of 2 problems with 4 samples each."""
    rng, covered = np.random.default_rng(0), 0
    gain = 0.1
    for _ in range(600):
        rates = np.repeat(rng.uniform(0.1, 0.8, size=40), 2)  # problems of a family are equally hard
        change = np.repeat(rng.uniform(gain - 0.1, gain + 0.1, size=40), 2)
        drawn = [rng.binomial(1, p[:, None], size=(80, 4)) for p in (rates, rates + change)]
        sides = [
            Side(
                name,
                {
                    str(i): outcome(name, str(i), [float(x) for x in row], f"family {i // 2}")
                    for i, row in enumerate(rows)
                },
            )
            for name, rows in zip(("a", "b"), drawn, strict=True)
        ]
        interval = compare_sides(sides).sides[1].differences["pass@1"].interval
        assert interval is not None
        covered += interval[0] <= gain <= interval[1]
    assert 0.93 <= covered / 600 <= 0.97


def write_run(folder: Path, *lines: ProblemOutcome) -> Path:
    folder.mkdir(parents=True)
    (folder / "outcomes.jsonl").write_text("".join(json.dumps(to_json(line)) + "\n" for line in lines))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A training, with the rows base and trained, and a run of decode.py."""
    names = [f"p<{i}>[/b]" for i in range(6)]
    trained = [outcome(row, name, [1.0]) for row in ("base", "trained") for name in names[:5]]
    decoded = [outcome("greedy", name, [float(i != 2)]) for i, name in enumerate(names)]
    return write_run(tmp_path / "one", *trained), write_run(tmp_path / "two", *decoded)


def test_the_row_of_a_run(runs: tuple[Path, Path]) -> None:
    one, two = runs
    folders, sides = read_sides([str(one), str(two)])
    assert folders == [one, two]
    assert [s.name for s in sides] == ["one trained", "two greedy"]
    assert {line.row for line in sides[0].outcomes.values()} == {"trained"}
    assert [s.name for s in read_sides([f"{one}:base", f"{one}:trained"])[1]] == ["base", "trained"]
    assert [s.name for s in read_sides([f"{one}:base", f"{two}:greedy"])[1]] == ["one base", "two greedy"]


def test_the_command(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    one, two = runs
    assert main([str(one), str(two)]) == 0
    shown = capsys.readouterr().out
    assert "p<2>[/b] (100 to 0 %)" in shown
    assert "over 5 problems, differences paired by problem; 1 left out" in shown
    text = (two / "compare.md").read_text()
    assert "p&lt;2&gt;[/b] (100 to 0 %)" in text
    assert "p<2>" not in text
    page = (two / "compare.html").read_text()
    assert "<li>p&lt;2&gt;[/b] (100 to 0 %)</li>" in page
    assert "p<2>" not in page
    assert page.count("data:image/png;base64,") == 1
    data = json.loads((two / "compare.json").read_text())
    assert data["sides"][1]["differences"]["pass@1"]["mean"] == pytest.approx(-0.2)
    assert (two / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert not (one / "compare.md").exists()
    assert main([str(two), "--out", str(one), f"{one}:base"]) == 0
    assert (one / "compare.md").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["ONE"], "error: ONE: one run; name two or more, or two of its rows as RUN:ROW"),
        (["ONE", "ONE:best"], "error: ONE: it has no row 'best'; its rows are base, trained"),
        (["ONE", "ROOT/three"], "error: ROOT/three: no such folder; name the folder of a finished run"),
        (["ONE", "ROOT"], "error: ROOT: it has no outcomes.jsonl: "),
    ],
)
def test_bad_arguments_end_in_one_line(
    runs: tuple[Path, Path], arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = runs[0]

    def filled(text: str) -> str:
        return text.replace("ONE", str(one)).replace("ROOT", str(one.parent))

    assert main([filled(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(filled(line))
    assert said.count("\n") == 1


def test_a_broken_file_is_named(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    one, two = runs
    with (two / "outcomes.jsonl").open("a") as file:
        file.write("{}\n")
    assert main([str(one), str(two)]) == 2
    assert f"{two / 'outcomes.jsonl'}:7: " in capsys.readouterr().err
