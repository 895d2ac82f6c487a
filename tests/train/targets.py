"""Hand-made states as a searched tree and its targets: each state is a rollout of its own."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from restrl.records import Cost, TreeTargets
from restrl.search.saved import SavedNode, SavedRollout, SavedTree


@dataclass(frozen=True)
class Target:
    """A state and what it is worth."""

    ids: tuple[int, ...]
    value: float
    visits: int = 1
    terminal: bool = False
    depth: int = 1
    parent: int = -1  # index among the problem's targets


@dataclass
class Collected:
    """What collecting leaves: trees, and the targets of each."""

    trees: list[SavedTree] = field(default_factory=list)
    targets: list[TreeTargets] = field(default_factory=list)

    def add(self, task_id: str, prompt: Sequence[int], states: Sequence[Target]) -> Collected:
        root = SavedNode(-1, "", array("i"), 0, 1, 0.0, None, terminal=False, visible=True)
        rollouts = tuple(
            SavedRollout(0, array("i", state.ids), "", "stop", array("i"), array("i"), state.value)
            for state in states
        )
        self.trees.append(SavedTree(task_id, 0, tuple(prompt), "", (root,), rollouts, 1, False, Cost()))
        self.targets.append(
            TreeTargets(
                task_id=task_id,
                rollout=array("i", range(len(states))),
                tokens=array("i", [len(state.ids) for state in states]),
                value=tuple(state.value for state in states),
                visits=array("i", [state.visits for state in states]),
                terminal=array("i", [state.terminal for state in states]),
                depth=array("i", [state.depth for state in states]),
                parent=array("i", [state.parent for state in states]),
            )
        )
        return self
