"""The collect step of stage 2: value targets of the training problems, from trees that the tests taught."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from restrl.artifacts import Artifact, Work
from restrl.engine.base import Progress
from restrl.files import write_text_atomic
from restrl.records import Cost, State, TreeTargets
from restrl.search.cut import token_cut
from restrl.search.forest import Services
from restrl.search.mcts import TESTS, Rules
from restrl.search.picture import trees_page
from restrl.search.run import planned_completions, run_searches
from restrl.search.saved import SavedTree
from restrl.search.targets import value_targets
from restrl.search.tree import Start
from restrl.seeds import derive_seed
from restrl.stages.evaluation import PICTURES, TREES
from restrl.stages.fit import check_fit
from restrl.stages.runtime import PolicyRef, Runtime
from restrl.stages.waves import WaveLog


def collect_step(run: Runtime, policy: PolicyRef) -> Artifact:
    """A tree of each training problem (SavedTree), and the value targets of each (TreeTargets).

    The rewards are what the search is taught by, so these trees say nothing about problems of another split.
    """
    inputs = {"policy": policy.fingerprint, "problems": run.problems("train").fingerprint}
    with run.open("collect", inputs) as work:
        artifact = run.found(work.artifact) if work.done else _collect(run, policy, work)
        WaveLog(work.folder).remove()  # also what a kill just before this line left
        _say(run, artifact)
        return artifact


def _collect(run: Runtime, policy: PolicyRef, work: Work) -> Artifact:
    """Grows the trees; what an interrupted run had found is found again from its waves."""
    check_fit(run, policy)
    trees, targets = work.records(SavedTree, TREES), work.records(TreeTargets)
    trees.truncate(0)
    targets.truncate(0)
    total = len(run.problems("train").problems) * planned_completions(run.config.mcts)
    summary, shown = _Summary(), list[SavedTree]()
    with run.console.progress("collect", total) as advance:
        for tree in _grow(run, policy, work, advance):
            found = value_targets(tree, run.config.mcts.reuse_rollouts)
            targets.append([found])
            trees.append([tree])
            summary.add(tree, found)
            shown = [*shown, tree][:PICTURES]
    write_text_atomic(work.folder / "trees.html", trees_page(shown))
    return work.finish(summary.cost, summary.to_json() | run.problems("train").left_out)


def _grow(run: Runtime, policy: PolicyRef, work: Work, advance: Progress) -> Iterator[SavedTree]:
    loaded, problems, mcts = run.load(policy), run.problems("train"), run.config.mcts

    def rewards(states: Sequence[State]) -> list[float | None]:
        programs = [(state.text, problems.by_id[state.task_id].tests) for state in states]
        return [verdict.reward for verdict in run.sandbox.judge(programs)]

    rules = Rules(mcts, TESTS, token_cut(loaded.tokenizer, mcts.skip_blank), loaded.prompter.stop)
    starts = (
        Start(
            problem.task_id,
            0,
            *loaded.prompter.encode(problem),
            derive_seed(run.config.seed, "collect", problem.task_id),
        )
        for problem in problems.problems
    )
    services = Services(loaded.engine.generate, rewards)
    yield from run_searches(starts, rules, services, WaveLog(work.folder), advance)


def _say(run: Runtime, artifact: Artifact) -> None:
    found, cost = artifact.summary, artifact.cost
    rate = f", {found['iterations'] / cost.seconds:.1f} iterations/s" if cost.seconds else ""
    mean = "none" if found["mean_value"] is None else f"{found['mean_value']:.3f}"
    run.console.say(
        f"collect: {found['targets']} value targets (mean {mean}) from {found['trees']} trees, "
        f"{found['exhausted']} of them exhausted; {cost.completions} completions, {cost.seconds:.0f} s{rate}"
    )
    run.console.say(f"trees: {artifact.folder / 'trees.html'}")


@dataclass
class _Summary:
    """What was collected, counted as it comes."""

    cost: Cost = field(default_factory=Cost)
    counts: Counter[str] = field(default_factory=Counter)
    by_depth: Counter[int] = field(default_factory=Counter)  # targets
    value_sums: dict[int, float] = field(default_factory=lambda: defaultdict(float))  # by depth

    def add(self, tree: SavedTree, targets: TreeTargets) -> None:
        self.cost += tree.cost
        self.counts.update(
            trees=1,
            exhausted=int(tree.exhausted),
            iterations=tree.iterations,
            unjudged=sum(rollout.rating is None for rollout in tree.rollouts),
            targets=len(targets),
            terminal=sum(targets.terminal),
        )
        self.by_depth.update(targets.depth)
        for depth, value in zip(targets.depth, targets.value, strict=True):
            self.value_sums[depth] += value

    def to_json(self) -> dict[str, Any]:
        """ "unjudged" counts rollouts, "terminal" targets; "by_depth": depth -> targets and their mean."""
        targets = self.by_depth.total()
        return {
            **self.counts,
            "mean_value": sum(self.value_sums.values()) / targets if targets else None,
            "by_depth": {
                str(depth): {"targets": count, "mean_value": self.value_sums[depth] / count}
                for depth, count in sorted(self.by_depth.items())
            },
        }
