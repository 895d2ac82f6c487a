"""The tree of a problem's programs, line by line, while it grows.

A node is a state: the problem and whole actions after it.  Statistics are those of UCT.  Token ids are held
once, as the action's own, in arrays of four bytes a token; a state's ids are those along its path.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from restrl.records import Cost, Finish, State


class Node:
    """A state.  ``visits`` N and ``value_sum`` W count what was backed up; V = W / N, and 0 where N = 0."""

    __slots__ = (
        "action", "children", "closed", "depth", "ids", "length", "parent", "rating", "terminal", "value_sum",
        "visible", "visits",
    )  # fmt: skip

    def __init__(self, parent: Node | None, action: str, ids: Sequence[int], terminal: bool) -> None:
        self.parent = parent
        self.action = action  # its text
        self.ids = array("i", ids)  # sampled tokens of the action; a terminal one's include the stop string
        self.terminal = terminal
        self.depth: int = 0 if parent is None else parent.depth + 1  # actions
        self.length: int = len(self.ids) + (0 if parent is None else parent.length)  # tokens of the state
        self.visits = 0
        self.value_sum = 0.0
        self.rating: float | None = None  # of the state itself: what a test or a scorer said
        self.visible = True  # whether selection may go there
        self.closed = terminal  # nothing is left to expand at or below it
        self.children: list[Node] = []  # in the order of arrival

    @property
    def value(self) -> float:
        return self.value_sum / self.visits if self.visits else 0.0

    def visit(self, values: Sequence[float | None]) -> None:
        """Adds the values to W and their number to N; None is no value."""
        judged = [value for value in values if value is not None]
        self.value_sum += sum(judged)
        self.visits += len(judged)

    def path(self) -> list[Node]:
        """From the root to this node."""
        nodes = []
        node: Node | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def state_ids(self) -> tuple[int, ...]:
        """Sampled after the prompt, up to the end of this node's action."""
        return tuple(token for node in self.path() for token in node.ids)

    def state_text(self) -> str:
        """The actions after the problem's initial state."""
        return "".join(node.action for node in self.path())

    def walk(self) -> Iterator[Node]:
        """This node and all below, parents before children."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(reversed(node.children))


class Rollout:
    """A completion that was sampled from a node: with the node's state it is a whole program."""

    __slots__ = ("ends", "finish", "ids", "node", "rating", "text")

    def __init__(
        self, node: Node, ids: Sequence[int], text: str, finish: Finish, ends: Sequence[tuple[int, int]]
    ) -> None:
        self.node = node  # the one it was sampled from
        self.ids = array("i", ids)  # as sampled after the node's state, the stop string included
        self.text = text
        self.finish = finish
        self.ends = tuple(ends)  # (tokens, characters) up to the end of each action but the last
        self.rating: float | None = None  # None: not judged, which is not 0


@dataclass(frozen=True)
class Start:
    """Where a search begins."""

    task_id: str
    sample: int  # 0, 1, ...: which of the problem's searches
    prompt_ids: tuple[int, ...]  # chat prompt, opened answer, initial state
    code: str  # the initial state as text
    seed: int  # of all draws of this search


class Tree:
    """A search in the making."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.root = Node(None, "", (), terminal=False)
        self.rollouts: list[Rollout] = []  # in the order of arrival
        self.ratings: dict[tuple[str, bool], float] = {}  # (program, terminal) -> what it was rated
        self.iterations = 0
        self.cost = Cost()

    @property
    def exhausted(self) -> bool:
        """Whether no visible leaf is left that could be expanded."""
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
        """The whole program that a rollout makes."""
        return State(
            self.start.task_id,
            self.start.prompt_ids,
            rollout.node.state_ids() + tuple(rollout.ids),
            self.start.code + rollout.node.state_text() + rollout.text,
            terminal=True,
        )
