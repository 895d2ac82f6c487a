"""A finished tree as a record.  All code that reads trees takes this record, so reading never changes a tree.

Token ids and positions are arrays with four bytes per number: a tuple takes nine times as much memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from restrl.records import Cost, Finish, Ints
from restrl.search.tree import Tree


@dataclass(frozen=True, slots=True)
class SavedNode:
    """``nodes[0]`` is the root; parents stand before their children, and children in the order of arrival."""

    parent: int  # index into nodes; -1 for the root
    action: str  # its text
    ids: Ints  # the tokens of the action; those of a terminal node include the stop string
    depth: int  # actions from the root
    visits: int  # N
    value_sum: float  # W
    rating: float | None  # of the state itself, if the tests or a scorer rated it
    terminal: bool
    visible: bool

    @property
    def value(self) -> float:
        return self.value_sum / self.visits if self.visits else 0.0


@dataclass(frozen=True, slots=True)
class SavedRollout:
    node: int  # index of the node it was sampled from
    ids: Ints  # tokens sampled after the node's state, including the stop string
    text: str  # without the stop string
    finish: Finish
    token_ends: Ints  # tokens of ``ids`` up to the end of each action but the last
    text_ends: Ints  # the same in characters of ``text``
    rating: float | None  # of the whole program: reward or score; None = could not be judged


@dataclass(frozen=True, slots=True)
class SavedTree:
    task_id: str
    sample: int  # index of this search among the problem's searches
    prompt_ids: tuple[int, ...]
    code: str  # the problem's initial state; a program is code + actions
    nodes: tuple[SavedNode, ...]
    rollouts: tuple[SavedRollout, ...]  # in the order of arrival
    iterations: int
    exhausted: bool  # ended because nothing was left to expand
    cost: Cost

    def state_ids(self, node: int) -> Ints:
        """The tokens sampled after the prompt, up to the end of the node's action."""
        ids = array("i")
        for index in self.path(node):
            ids += self.nodes[index].ids
        return ids

    def state_text(self, node: int) -> str:
        """The program so far."""
        return self.code + "".join(self.nodes[index].action for index in self.path(node))

    def program_ids(self, rollout: SavedRollout) -> Ints:
        """All tokens sampled after the prompt, including the stop string."""
        return self.state_ids(rollout.node) + rollout.ids

    def program(self, rollout: SavedRollout) -> str:
        return self.state_text(rollout.node) + rollout.text

    def best(self) -> SavedRollout | None:
        """The first rollout with the best rating; without any rating, the first rollout."""
        if not self.rollouts:
            return None
        return max(self.rollouts, key=lambda r: float("-inf") if r.rating is None else r.rating)

    def path(self, node: int) -> Sequence[int]:
        """The nodes from the root to this one."""
        path = []
        while node >= 0:
            path.append(node)
            node = self.nodes[node].parent
        return path[::-1]


def save_tree(tree: Tree) -> SavedTree:
    """The record of a tree."""
    nodes = list(tree.root.walk())
    index = {node: number for number, node in enumerate(nodes)}
    return SavedTree(
        task_id=tree.start.task_id,
        sample=tree.start.sample,
        prompt_ids=tree.start.prompt_ids,
        code=tree.start.code,
        nodes=tuple(
            SavedNode(
                parent=-1 if node.parent is None else index[node.parent],
                action=node.action,
                ids=node.ids,
                depth=node.depth,
                visits=node.visits,
                value_sum=node.value_sum,
                rating=node.rating,
                terminal=node.terminal,
                visible=node.visible,
            )
            for node in nodes
        ),
        rollouts=tuple(
            SavedRollout(
                node=index[rollout.node],
                ids=rollout.ids,
                text=rollout.text,
                finish=rollout.finish,
                token_ends=array("i", [tokens for tokens, _ in rollout.ends]),
                text_ends=array("i", [characters for _, characters in rollout.ends]),
                rating=rollout.rating,
            )
            for rollout in tree.rollouts
        ),
        iterations=tree.iterations,
        exhausted=tree.exhausted,
        cost=tree.cost,
    )
