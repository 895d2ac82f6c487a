"""Searched trees as an interactive HTML page.

The page is self-contained, without scripts or external resources.  Programs come from a model, so all text
is escaped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from restrl.pictures.words import colour, digits, first_line
from restrl.search.saved import SavedNode, SavedRollout, SavedTree

STYLE = """
body { font: 14px/1.4 sans-serif; margin: 1.5em; }
pre, code { font-family: monospace; white-space: pre-wrap; margin: 0; }
details { margin-left: 1.4em; border-left: 1px solid #ccc; padding-left: .4em; }
summary { cursor: pointer; }
summary code { display: inline-block; vertical-align: top; }
.hidden > summary { opacity: .45; }
.best > summary code { text-decoration: underline; }
.number { display: inline-block; min-width: 3em; padding: 0 .4em; border-radius: .3em; }
.note { color: #666; }
"""


def trees_page(trees: Sequence[SavedTree]) -> str:
    """An HTML page of the trees, each opened along the path to its best rollout."""
    body = "".join(_section(tree) for tree in trees)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Searched trees</title>'
        f"<style>{STYLE}</style></head><body><h1>Searched trees</h1>"
        '<p class="note">A line of code is a node: V (mean value), N (visits). A whole program is marked by '
        "its rating. Faded nodes are hidden from selection; the best program is underlined.</p>"
        f"{body}</body></html>\n"
    )


def _section(tree: SavedTree) -> str:
    cost = tree.cost
    facts = (
        f"{tree.iterations} iterations{', exhausted' if tree.exhausted else ''}; {cost.completions} "
        f"completions, {cost.model_tokens} tokens, {cost.verifier_calls} verifier calls, "
        f"{cost.scorer_calls} scorer calls, {cost.seconds:.1f} s"
    )
    best = tree.best()
    answer = "" if best is None else f"<h3>Best program</h3><pre>{escape(tree.program(best))}</pre>"
    return (
        f"<h2>{escape(tree.task_id)}, search {tree.sample}</h2>"
        f'<p class="note">{facts}</p><pre>{escape(tree.code)}</pre>{_Branches(tree).html(0)}{answer}'
    )


class _Branches:
    """The children and rollouts of each node of a tree."""

    def __init__(self, tree: SavedTree) -> None:
        self.tree = tree
        self.children: dict[int, list[int]] = defaultdict(list)
        for index, node in enumerate(tree.nodes):
            self.children[node.parent].append(index)
        self.rollouts: dict[int, list[SavedRollout]] = defaultdict(list)
        for rollout in tree.rollouts:
            self.rollouts[rollout.node].append(rollout)
        self.best = tree.best()
        self.open = set() if self.best is None else set(tree.path(self.best.node))

    def html(self, index: int) -> str:
        """The node and all nodes below it, without recursion: a tree may be deeper than Python's stack."""
        parts: list[str] = []
        todo: list[int | str] = [index]
        while todo:
            item = todo.pop()
            if isinstance(item, str):
                parts.append(item)
                continue
            node = self.tree.nodes[item]
            kind = "" if node.visible else ' class="hidden"'
            opened = " open" if item in self.open else ""
            parts.append(f"<details{kind}{opened}><summary>{_node_line(node)}</summary>")
            parts += [self._rollout(rollout) for rollout in self.rollouts[item]]
            todo.append("</details>")
            todo += reversed(self.children[item])
        return "".join(parts)

    def _rollout(self, rollout: SavedRollout) -> str:
        kind = ' class="best"' if rollout is self.best else ""
        ended = ", cut off at the limit" if rollout.finish == "length" else ""
        code = escape(first_line(rollout.text))
        return (
            f"<details{kind}><summary>{_number(rollout.rating)} "
            f'<span class="note">sampled from here{ended}</span> <code>{code}</code>'
            f"</summary><pre>{escape(rollout.text)}</pre></details>"
        )


def _node_line(node: SavedNode) -> str:
    value = node.value if node.visits else node.rating
    end = ', <span class="note">whole program</span>' if node.terminal else ""
    text = escape(node.action.strip("\n")) or '<span class="note">start</span>'
    return f"{_number(value)} N {node.visits} <code>{text}</code>{end}"


def _number(value: float | None) -> str:
    return f'<span class="number" style="background:{colour(value)}">{digits(value)}</span>'
