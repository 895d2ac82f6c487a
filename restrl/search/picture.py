"""Searched trees to look at: an HTML page to click through, and an SVG picture.

Both stand alone, without scripts or anything from elsewhere.  Programs come from a model: all text is
escaped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape

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
    """An HTML page of the trees, each opened along the way to its best rollout."""
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
    """What hangs below each node of a tree."""

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
        """The node and all below it; no recursion, for a program may be deeper than Python's stack."""
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
        return (
            f"<details{kind}><summary>{_number(rollout.rating)} "
            f'<span class="note">sampled from here{ended}</span> <code>{escape(_first(rollout.text))}</code>'
            f"</summary><pre>{escape(rollout.text)}</pre></details>"
        )


def _node_line(node: SavedNode) -> str:
    value = node.value if node.visits else node.rating
    end = ', <span class="note">whole program</span>' if node.terminal else ""
    text = escape(node.action.strip("\n")) or '<span class="note">start</span>'
    return f"{_number(value)} N {node.visits} <code>{text}</code>{end}"


def _first(text: str) -> str:
    lines = text.strip("\n").splitlines()
    return lines[0] if lines else ""


def _number(value: float | None) -> str:
    return f'<span class="number" style="background:{colour(value)}">{_digits(value)}</span>'


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def colour(value: float | None) -> str:
    """From red (0) over yellow to green (1); grey where there is no value."""
    if value is None:
        return "#e8e8e8"
    return f"hsl({120 * min(1.0, max(0.0, value)):.0f},70%,80%)"


# --- SVG

COLUMN, ROW, BOX = 250, 44, 34  # pixels
CHARACTERS = 30  # of a line of code in a box


def tree_svg(tree: SavedTree, most: int = 40) -> str:
    """The ``most`` most visited visible nodes as an SVG: depth from left to right, V and N in each box."""
    shown = _most_visited(tree, most)
    rows: dict[int, float] = {}
    below: dict[int, list[int]] = defaultdict(list)
    for index in shown:
        below[tree.nodes[index].parent].append(index)
    leaves = [index for index in shown if not below[index]]
    rows |= {index: float(row) for row, index in enumerate(leaves)}
    for index in reversed(shown):  # children before parents
        if kids := below[index]:
            rows[index] = sum(rows[kid] for kid in kids) / len(kids)
    height = len(leaves) * ROW + 20
    width = (1 + max(tree.nodes[index].depth for index in shown)) * COLUMN + 20
    lines = [_edge(tree, rows, index) for index in shown if tree.nodes[index].parent >= 0]
    boxes = [_box(tree.nodes[index], rows[index]) for index in shown]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="monospace" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(lines + boxes)}</svg>\n"
    )


def _most_visited(tree: SavedTree, most: int) -> list[int]:
    """Visible nodes whose ancestors are visible and shown, parents first."""
    reachable: set[int] = set()
    for index, node in enumerate(tree.nodes):
        if node.visible and (node.parent < 0 or node.parent in reachable):
            reachable.add(index)
    chosen = sorted(reachable, key=lambda index: (-tree.nodes[index].visits, index))[:most]
    kept: set[int] = {0}
    for index in sorted(chosen):
        if tree.nodes[index].parent in kept:
            kept.add(index)
    return sorted(kept)


def _place(node: SavedNode, row: float) -> tuple[float, float]:
    return 10 + node.depth * COLUMN, 10 + row * ROW


def _edge(tree: SavedTree, rows: dict[int, float], index: int) -> str:
    node = tree.nodes[index]
    x, y = _place(node, rows[index])
    px, py = _place(tree.nodes[node.parent], rows[node.parent])
    x1, y1, y2 = px + COLUMN - 30, py + BOX / 2, y + BOX / 2
    curve = f"M{x1:.0f},{y1:.0f} C{x:.0f},{y1:.0f} {x1:.0f},{y2:.0f} {x:.0f},{y2:.0f}"
    return f'<path d="{curve}" fill="none" stroke="#999"/>'


def _box(node: SavedNode, row: float) -> str:
    x, y = _place(node, row)
    value = node.value if node.visits else node.rating
    label = _first(node.action).strip() or "start"
    label = label if len(label) <= CHARACTERS else label[: CHARACTERS - 3] + "..."
    known = f"V {_digits(value)}  N {node.visits}" if node.visits else f"rated {_digits(value)}"
    facts = known + ("  whole program" if node.terminal else "")
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{COLUMN - 30}" height="{BOX}" rx="4" fill="{colour(value)}" '
        f'stroke="#777"/><text x="{x + 6:.0f}" y="{y + 14:.0f}" xml:space="preserve">{escape(label)}</text>'
        f'<text x="{x + 6:.0f}" y="{y + 28:.0f}" fill="#444">{facts}</text>'
    )
