"""The collect step of stage 2: value targets of the training problems, from searches guided by the tests."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from restrl.artifacts import Artifact, Work
from restrl.engine.base import SEARCHES, need
from restrl.files import write_text_atomic
from restrl.pictures.page import trees_page
from restrl.protocols import Progress
from restrl.records import Cost, State, TreeTargets
from restrl.search.cut import token_cut
from restrl.search.forest import Services
from restrl.search.mcts import TESTS, Rules
from restrl.search.run import planned_completions, run_searches
from restrl.search.saved import SavedTree
from restrl.search.targets import value_targets
from restrl.search.tree import Start
from restrl.seeds import derive_seed
from restrl.stages.evaluation import PICTURES, TREES
from restrl.stages.fit import check_fit
from restrl.stages.resources import PolicyRef, Resources
from restrl.stages.searches import SearchFiles
from restrl.stages.session import Session


def collect_step(session: Session, resources: Resources, policy: PolicyRef) -> Artifact:
    """A searched tree (SavedTree) and its value targets (TreeTargets) for each training problem.

    The tests guide these searches, so only training problems are searched, never held-out ones.
    """
    inputs = {"policy": policy.fingerprint, "problems": resources.problems("train").fingerprint}
    with session.open("collect", inputs) as work:
        files = SearchFiles(work.folder, session.ranks, session.part, session.makes)
        if work.done:
            artifact = session.found(work.artifact)
        else:
            artifact = _collect(session, resources, policy, work, files)
        files.remove()  # also needed if an earlier run was killed just before this line
        _say(session, artifact)
        return artifact


def _collect(
    session: Session, resources: Resources, policy: PolicyRef, work: Work, files: SearchFiles
) -> Artifact:
    """Grows the trees and computes their targets; a resumed run replays the recorded replies first."""
    mcts, problems = session.config.mcts, resources.problems("train")
    total = len(files.share(problems.problems)) * session.ranks.size * planned_completions(mcts)
    with session.console.progress("collect", total) as advance:
        files.grow(lambda: _grow(session, resources, policy, files, advance))
    trees, targets = work.records(SavedTree, TREES), work.records(TreeTargets)
    trees.truncate(0)
    targets.truncate(0)
    summary, shown = _Summary(), list[SavedTree]()
    for tree in files.merged(mcts.in_flight):
        tree_targets = value_targets(tree, mcts.reuse_rollouts)
        targets.append([tree_targets])
        trees.append([tree])
        summary.add(tree, tree_targets)
        shown = [*shown, tree][:PICTURES]
    session.write(lambda: write_text_atomic(work.folder / "trees.html", trees_page(shown)))
    return work.finish(summary.cost, summary.to_json() | problems.left_out)


def _grow(
    session: Session, resources: Resources, policy: PolicyRef, files: SearchFiles, advance: Progress
) -> None:
    """Grows the trees of this worker's problems and stores them in ``files``."""
    check_fit(session, resources, policy)
    loaded, problems, mcts = resources.load(policy), resources.problems("train"), session.config.mcts

    def rewards(states: Sequence[State]) -> list[float | None]:
        programs = [(state.text, problems.by_id[state.task_id].judged) for state in states]
        return [verdict.reward for verdict in resources.sandbox.judge(programs)]

    need(session.config.engine.name, loaded.engine.capabilities, SEARCHES, "stage=collect")
    rules = Rules(mcts, TESTS, token_cut(loaded.tokenizer, mcts.skip_blank), loaded.prompter.stop)
    starts = (
        Start(
            problem.task_id,
            0,
            *loaded.prompter.encode(problem),
            derive_seed(session.config.seed, "collect", problem.task_id),
        )
        for problem in files.share(problems.problems)
    )
    services = Services(loaded.engine.generate, rewards, loaded.engine.settle)
    for _ in run_searches(starts, rules, services, files, advance):
        pass


def _say(session: Session, artifact: Artifact) -> None:
    summary, cost = artifact.summary, artifact.cost
    rate = f", {summary['iterations'] / cost.seconds:.1f} iterations/s" if cost.seconds else ""
    mean = "none" if summary["mean_value"] is None else f"{summary['mean_value']:.3f}"
    session.console.say(
        f"collect: {summary['targets']} value targets (mean {mean}) from {summary['trees']} trees, "
        f"{summary['exhausted']} of them exhausted; "
        f"{cost.completions} completions, {cost.seconds:.0f} s{rate}"
    )
    session.console.say(f"trees: {artifact.folder / 'trees.html'}")


@dataclass
class _Summary:
    """Running counts over the collected trees."""

    cost: Cost = field(default_factory=Cost)
    counts: Counter[str] = field(default_factory=Counter)
    by_depth: Counter[int] = field(default_factory=Counter)  # depth -> number of targets
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
        """ "unjudged" counts rollouts, "terminal" targets; "by_depth": depth -> targets and mean value."""
        targets = self.by_depth.total()
        return {
            **self.counts,
            "mean_value": sum(self.value_sums.values()) / targets if targets else None,
            "by_depth": {
                str(depth): {"targets": count, "mean_value": self.value_sums[depth] / count}
                for depth, count in sorted(self.by_depth.items())
            },
        }
