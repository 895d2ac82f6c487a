"""Value targets from a searched tree (ReST-RL, arXiv 2508.19576, section 3.2)."""

from __future__ import annotations

import dataclasses
from array import array
from dataclasses import dataclass

from restrl.records import TreeTargets
from restrl.search.saved import SavedRollout, SavedTree


def value_targets(tree: SavedTree, reuse_rollouts: bool) -> TreeTargets:
    """The values that the search estimated for its states: each state once, with whole programs and the root.

    Every judged rollout is a terminal state with its reward.  As in the paper, the other states are the
    expanded nodes with V and N of the search.  With ``reuse_rollouts`` they are all prefixes of judged
    rollouts instead: the value of a prefix is the mean reward of all judged rollouts that pass through it,
    wherever in the tree they were sampled, and its visits are the number of these rollouts.  The search
    itself does not depend on ``reuse_rollouts``.
    """
    pooled = _Pooled()
    first_from: dict[int, int] = {}  # node -> the first rollout that was sampled from it
    for number, rollout in enumerate(tree.rollouts):
        first_from.setdefault(rollout.node, number)
        if rollout.rating is None:
            continue
        *prefixes, program = _passed(tree, rollout)
        pooled.add(number, program, prefixes[-1], True, rollout.rating, visits=1)
        if reuse_rollouts:
            for parent, state in zip([None, *prefixes], prefixes, strict=False):
                pooled.add(number, state, parent, False, rollout.rating, visits=1)
    if not reuse_rollouts:
        for index in sorted(first_from):
            if (node := tree.nodes[index]).visits:
                number = first_from[index]
                path = _passed(tree, tree.rollouts[number])[: len(tree.path(index))]
                parent = path[-2] if len(path) > 1 else None
                pooled.add(number, path[-1], parent, False, node.value_sum, node.visits)
    return pooled.targets(tree.task_id)


def step_labels(tree: SavedTree, targets: TreeTargets, label: str) -> TreeTargets:
    """The same states with the labels of a process reward model in place of their values.

    Math-Shepherd (arXiv 2312.08935, section 3.3): ``soft`` is the share of the judged programs below a state
    that pass all tests, ``hard`` is 1 if one of them does, else 0.  A whole program is below itself.
    ``value`` changes nothing.
    """
    if label == "value":
        return targets
    passed = [_passed(tree, rollout) for rollout in tree.rollouts]
    below: dict[tuple[str, bool], list[bool]] = {}  # state -> whether the programs below it pass
    for rollout, (*prefixes, program) in zip(tree.rollouts, passed, strict=True):
        if rollout.rating is not None:
            for state in prefixes:
                below.setdefault((state.text.rstrip(), False), []).append(rollout.rating >= 1.0)
            below.setdefault((program.text.rstrip(), True), []).append(rollout.rating >= 1.0)
    labels = []
    for number, tokens, terminal in zip(targets.rollout, targets.tokens, targets.terminal, strict=True):
        *prefixes, program = passed[number]
        state = program if terminal else next(state for state in prefixes if state.tokens == tokens)
        passes = below[state.text.rstrip(), bool(terminal)]
        labels.append(float(any(passes)) if label == "hard" else sum(passes) / len(passes))
    return dataclasses.replace(targets, value=tuple(labels))


@dataclass(frozen=True, slots=True)
class _State:
    tokens: int  # number of tokens sampled after the prompt
    text: str  # the program so far
    depth: int  # number of actions


def _passed(tree: SavedTree, rollout: SavedRollout) -> list[_State]:
    """The states on the way to the rollout's program, the root first and the program last."""
    states: list[_State] = []
    tokens, text, depth = 0, tree.code, 0
    for index in tree.path(rollout.node):
        node = tree.nodes[index]
        tokens, text, depth = tokens + len(node.ids), text + node.action, node.depth
        states.append(_State(tokens, text, depth))
    ends = [*zip(rollout.token_ends, rollout.text_ends, strict=True), (len(rollout.ids), len(rollout.text))]
    for k, (after, end) in enumerate(ends, start=1):
        states.append(_State(tokens + after, text + rollout.text[:end], depth + k))
    return states


class _Pooled:
    """Targets by state.  Equal programs are one state, with the tokens of the program that came first."""

    def __init__(self) -> None:
        self.index: dict[tuple[str, bool], int] = {}  # (program, terminal) -> number of the state
        self.first: list[tuple[int, _State, str | None]] = []  # rollout, state, the parent's program
        self.value_sums: list[float] = []
        self.visits = array("i")

    def add(
        self, rollout: int, state: _State, parent: _State | None, terminal: bool, value: float, visits: int
    ) -> None:
        """``value``: the sum of ``visits`` rewards."""
        key = (state.text.rstrip(), terminal)
        number = self.index.setdefault(key, len(self.first))
        if number == len(self.first):
            self.first.append((rollout, state, None if parent is None else parent.text.rstrip()))
            self.value_sums.append(0.0)
            self.visits.append(0)
        self.value_sums[number] += value
        self.visits[number] += visits

    def targets(self, task_id: str) -> TreeTargets:
        return TreeTargets(
            task_id=task_id,
            rollout=array("i", [rollout for rollout, _, _ in self.first]),
            tokens=array("i", [state.tokens for _, state, _ in self.first]),
            value=tuple(total / n for total, n in zip(self.value_sums, self.visits, strict=True)),
            visits=self.visits,
            terminal=array("i", [terminal for _, terminal in self.index]),
            depth=array("i", [state.depth for _, state, _ in self.first]),
            parent=array(
                "i", [-1 if above is None else self.index.get((above, False), -1) for *_, above in self.first]
            ),
        )
