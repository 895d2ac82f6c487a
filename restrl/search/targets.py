"""Value targets from a searched tree (ReST-RL, arXiv 2508.19576, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from restrl.records import ValueTarget
from restrl.search.saved import SavedRollout, SavedTree


def value_targets(tree: SavedTree, reuse_rollouts: bool) -> list[ValueTarget]:
    """What the tree found its states to be worth, each state once, whole programs and the root among them.

    Every judged rollout is a terminal state with its reward.  The other states are, as in the paper, the
    expanded nodes with V and N of the search; or, with ``reuse_rollouts``, every prefix of a judged rollout:
    its value is the mean reward of all judged rollouts that pass through it, wherever in the tree they were
    sampled, and its visits are their number.  The search itself is the same either way.
    """
    pooled = _Pooled(tree)
    for rollout in tree.rollouts:
        if rollout.rating is None:
            continue
        pooled.add(_whole(tree, rollout), True, rollout.rating, visits=1)
        if reuse_rollouts:
            for state in _prefixes(tree, rollout):
                pooled.add(state, False, rollout.rating, visits=1)
    if not reuse_rollouts:
        expanded = {node.parent for node in tree.nodes}
        for index, node in enumerate(tree.nodes):
            if index in expanded and node.visits:
                pooled.add(_state(tree, index), False, node.value_sum, node.visits)
    return pooled.targets()


@dataclass(frozen=True)
class _State:
    ids: tuple[int, ...]  # sampled after the prompt
    text: str  # the program so far
    depth: int  # actions


def _state(tree: SavedTree, node: int) -> _State:
    return _State(tree.state_ids(node), tree.state_text(node), tree.nodes[node].depth)


def _whole(tree: SavedTree, rollout: SavedRollout) -> _State:
    start = _state(tree, rollout.node)
    actions = len(rollout.token_ends) + 1
    return _State(start.ids + rollout.ids, start.text + rollout.text, start.depth + actions)


def _prefixes(tree: SavedTree, rollout: SavedRollout) -> Iterator[_State]:
    """The states on the way to the rollout's program, the root first."""
    for node in tree.path(rollout.node):
        yield _state(tree, node)
    start = _state(tree, rollout.node)
    for k, (tokens, end) in enumerate(zip(rollout.token_ends, rollout.text_ends, strict=True), start=1):
        yield _State(start.ids + rollout.ids[:tokens], start.text + rollout.text[:end], start.depth + k)


class _Pooled:
    """Targets by state: equal programs are one state, with the tokens that came first."""

    def __init__(self, tree: SavedTree) -> None:
        self.tree = tree
        self.first: dict[tuple[str, bool], _State] = {}  # by program and terminal
        self.value_sums: dict[tuple[str, bool], float] = {}
        self.visits: dict[tuple[str, bool], int] = {}

    def add(self, state: _State, terminal: bool, value_sum: float, visits: int) -> None:
        key = (state.text.rstrip(), terminal)
        self.first.setdefault(key, state)
        self.value_sums[key] = self.value_sums.get(key, 0.0) + value_sum
        self.visits[key] = self.visits.get(key, 0) + visits

    def targets(self) -> list[ValueTarget]:
        return [
            ValueTarget(
                task_id=self.tree.task_id,
                prompt_ids=self.tree.prompt_ids,
                ids=state.ids,
                value=self.value_sums[key] / self.visits[key],
                visits=self.visits[key],
                terminal=key[1],
                depth=state.depth,
            )
            for key, state in self.first.items()
        ]
