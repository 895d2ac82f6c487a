"""Searches from the command line: what they leave, and that no kill changes it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from restrl.artifacts import Records
from restrl.records import TreeTargets
from restrl.search.saved import SavedTree
from restrl.search.targets import value_targets
from tests.stages.conftest import Workplace, make_workplace
from tests.stages.processes import Strike, artifacts, contents, never, timeless

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
SEARCH = ("dataset.max_tokens=24",)
COLLECT = ("stage=collect", "mcts.iterations=6", "mcts.in_flight=2", "mcts.sampling.temperature=1", *SEARCH)
DECODE = (
    "decoder=mcts", "scorer=verifier", "decoder.answers=2", "decoder.mcts.iterations=4",
    "decoder.mcts.in_flight=3", "decoder.sampling.temperature=1", *SEARCH,
)  # fmt: skip
NOTHING_TO_DO = (never("restrl.stages.resources:load_model"), never("restrl.stages.resources:Sandbox"))


def search_workplace(folder: Path) -> Workplace:
    """Problems that end in a comment: what a model of random weights goes on with is right until its first
    newline, and seldom after it."""
    workplace = make_workplace(folder)
    lines = []
    for line in (folder / "problems.jsonl").read_text().splitlines():
        problem = json.loads(line)
        code = problem["code"].replace(" or y", "") + "\n#"
        lines.append(json.dumps(problem | {"code": code}) + "\n")
    (folder / "problems.jsonl").write_text("".join(lines))
    return workplace


def folder_of(workplace: Workplace, step: str) -> Path:
    (name,) = artifacts(workplace.outputs, step)
    return workplace.outputs / "artifacts" / name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    workplace = search_workplace(tmp_path_factory.mktemp("search"))
    for finished in (workplace.train(*COLLECT), workplace.decode(*DECODE)):
        assert (finished.code, finished.err) == (0, "")
    return workplace


@pytest.fixture(scope="module")
def expected(undisturbed: Workplace) -> tuple[dict, dict]:
    return contents(undisturbed.outputs), timeless(undisturbed.results())


def test_collect_leaves_trees_targets_and_a_page(undisturbed: Workplace) -> None:
    folder = folder_of(undisturbed, "collect")
    trees = list(Records(folder / "trees.jsonl", SavedTree))
    assert len({tree.task_id for tree in trees}) == len(trees) == 4
    assert max(node.depth for tree in trees for node in tree.nodes) > 1
    targets = list(Records(folder / "records.jsonl", TreeTargets))
    assert targets == [value_targets(tree, reuse_rollouts=True) for tree in trees]
    values = [value for some in targets for value in some.value]
    assert set(values) - {0.0}  # something is right
    summary = json.loads((folder / "manifest.json").read_text())["summary"]
    assert summary["targets"] == len(values) == sum(row["targets"] for row in summary["by_depth"].values())
    assert summary["terminal"] == sum(sum(some.terminal) for some in targets)
    assert summary["mean_value"] == pytest.approx(sum(values) / len(values))
    assert (summary["trees"], summary["exhausted"]) == (4, sum(tree.exhausted for tree in trees))
    assert "<html" in (folder / "trees.html").read_text()
    assert not (folder / "replies.jsonl").exists()


def test_decode_leaves_its_trees_in_the_run_folder(undisturbed: Workplace) -> None:
    trees = list(Records(undisturbed.last / "trees.jsonl", SavedTree))
    answers = undisturbed.lines("answers.jsonl")
    assert [(a["task_id"], a["sample"]) for a in answers] == sorted((t.task_id, t.sample) for t in trees)
    by_search = {(tree.task_id, tree.sample): tree for tree in trees}
    for answer, verdict in zip(answers, undisturbed.lines("verdicts.jsonl"), strict=True):
        tree = by_search[answer["task_id"], answer["sample"]]
        best = tree.best()
        assert best is not None
        assert (answer["text"], answer["score"]) == (tree.program(best), best.rating)
        assert verdict["reward"] == best.rating  # the scorer is the tests
        assert answer["cost"]["completions"] == len(tree.rollouts)
    assert undisturbed.results()["oracle"] is True
    assert "<html" in (undisturbed.last / "trees.html").read_text()


def test_what_is_done_is_found_again(undisturbed: Workplace, expected: tuple[dict, dict]) -> None:
    assert undisturbed.train(*COLLECT, strikes=NOTHING_TO_DO).code == 0
    assert undisturbed.decode(*DECODE, strikes=NOTHING_TO_DO).code == 0
    assert (contents(undisturbed.outputs), timeless(undisturbed.results())) == expected


KILLS = {
    "collect": [
        ("restrl.stages.searches:SearchFiles.append", 1),  # nothing is kept
        ("restrl.stages.resources:Sandbox.judge", 2),
        ("restrl.stages.searches:SearchFiles.append", 2),
        ("restrl.search.run:save_tree", 2),  # between two trees
        ("restrl.artifacts:Work.finish", 1),
        ("restrl.stages.searches:SearchFiles.remove", 1),
    ],
    "decode": [
        ("restrl.stages.searches:SearchFiles.append", 4),
        ("restrl.stages.evaluation:judge_answers", 1),
        ("restrl.artifacts:Work.finish", 1),
        ("restrl.stages.decoding:show_trees", 1),
    ],
}


def test_killed_again_and_again_it_ends_in_the_same_trees(
    tmp_path: Path, expected: tuple[dict, dict]
) -> None:
    workplace = search_workplace(tmp_path)
    runs = {"collect": lambda **more: workplace.train(*COLLECT, **more),
            "decode": lambda **more: workplace.decode(*DECODE, **more)}  # fmt: skip
    for name, run in runs.items():
        batches = 0
        for target, call in KILLS[name]:
            struck = run(strikes=(Strike(target, call=call),))
            assert struck.code == -signal.SIGKILL, (name, target)
            left = folder_of(workplace, "collect" if name == "collect" else "evaluate") / "replies.jsonl"
            if left.exists():
                kept = len(left.read_bytes().splitlines())
                assert kept >= batches  # no batch is lost
                batches = kept
        assert batches > 3
        finished = run()
        assert (finished.code, finished.err) == (0, "")
    found = contents(workplace.outputs)
    assert [name for name in found if found[name] != expected[0].get(name)] == []
    assert (found, timeless(workplace.results())) == expected


def test_a_scorer_has_to_be_chosen(workplace: Workplace) -> None:
    failed = workplace.decode("decoder=mcts", "decoder.k=[1]", strikes=NOTHING_TO_DO)
    line = "error: decoder=mcts needs a scorer: scorer=vm, prm, orm or verifier\n"
    assert (failed.code, failed.err) == (2, line)
