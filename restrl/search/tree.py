"""The tree of a problem's programs, line by line, while it grows.

A node is a state: the problem followed by whole actions.  Nodes hold the statistics of UCT.  A node stores
only the token ids of its action, in an array with four bytes per token; the ids of a state are those along
its path.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from restrl.records import Cost, Finish, State


class Node:
    """A state.  ``visits`` N and ``value_sum`` W are those of backed-up values; V = W / N, 0 if N = 0."""

    __slots__ = (
        "action", "children", "closed", "depth", "ids", "length", "parent", "rating", "terminal", "value_sum",
        "visible", "visits",
    )  # fmt: skip

    def __init__(self, parent: Node | None, action: str, ids: Sequence[int], terminal: bool) -> None:
        self.parent = parent
        self.action = action  # its text
        self.ids = array("i", ids)  # sampled tokens of the action; of a terminal node with the stop string
        self.terminal = terminal
        self.depth: int = 0 if parent is None else parent.depth + 1  # actions
        self.length: int = len(self.ids) + (0 if parent is None else parent.length)  # tokens of the state
        self.visits = 0
        self.value_sum = 0.0
        self.rating: float | None = None  # of the state itself, by the tests or a scorer
        self.visible = True  # whether selection may choose it
        self.closed = terminal  # nothing can be expanded at or below it
        self.children: list[Node] = []  # in the order of arrival

    @property
    def value(self) -> float:
        return self.value_sum / self.visits if self.visits else 0.0

    def visit(self, values: Sequence[float | None]) -> None:
        """Adds the values to W and their number to N; None is not a value."""
        judged = [value for value in values if value is not None]
        self.value_sum += sum(judged)
        self.visits += len(judged)

    def path(self) -> list[Node]:
        """The nodes from the root to this one."""
        nodes = []
        node: Node | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def state_ids(self) -> tuple[int, ...]:
        """The tokens sampled after the prompt, up to the end of this node's action."""
        return tuple(token for node in self.path() for token in node.ids)

    def state_text(self) -> str:
        """The actions after the problem's initial state."""
        return "".join(node.action for node in self.path())

    def walk(self) -> Iterator[Node]:
        """This node and all nodes below it, parents before children."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(reversed(node.children))


class Rollout:
    """A completion sampled from a node: the node's state plus the completion is a whole program."""

    __slots__ = ("ends", "finish", "ids", "node", "rating", "text")

    def __init__(
        self, node: Node, ids: Sequence[int], text: str, finish: Finish, ends: Sequence[tuple[int, int]]
    ) -> None:
        self.node = node  # the node it was sampled from
        self.ids = array("i", ids)  # tokens sampled after the node's state, including the stop string
        self.text = text
        self.finish = finish
        self.ends = tuple(ends)  # (tokens, characters) up to the end of each action but the last
        self.rating: float | None = None  # None: not judged (which differs from 0)


@dataclass(frozen=True)
class Start:
    """Where a search begins."""

    task_id: str
    sample: int  # index of this search among the problem's searches
    prompt_ids: tuple[int, ...]  # chat prompt, opened answer, initial state
    code: str  # the initial state as text
    seed: int  # the seed of this search, from which all its random numbers derive


class Tree:
    """A search while it runs."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.root = Node(None, "", (), terminal=False)
        self.rollouts: list[Rollout] = []  # in the order of arrival
        self.ratings: dict[tuple[str, bool], float] = {}  # (program, terminal) -> its rating
        self.iterations = 0
        self.cost = Cost()

    @property
    def exhausted(self) -> bool:
        """Whether no visible leaf can be expanded any more."""
        return self.root.closed

    def state(self, node: Node) -> State:
        return State(
            self.start.task_id,
            self.start.prompt_ids,
            node.state_ids(),
            self.start.code + node.state_text(),
            node.terminal,
        )

    def program(self, rollout: Rollout) -> State:
        """The whole program: the state of the rollout's node plus the rollout."""
        return State(
            self.start.task_id,
            self.start.prompt_ids,
            rollout.node.state_ids() + tuple(rollout.ids),
            self.start.code + rollout.node.state_text() + rollout.text,
            terminal=True,
        )
