"""A searched tree as a self-contained SVG.  Programs come from a model, so all text is escaped."""

from __future__ import annotations

from collections import defaultdict
from html import escape

from restrl.pictures.words import colour, digits, first_line
from restrl.search.saved import SavedNode, SavedTree

COLUMN, ROW, BOX = 250, 44, 34  # pixels
CHARACTERS = 30  # maximum length of a line of code in a box


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
        if children := below[index]:
            rows[index] = sum(rows[child] for child in children) / len(children)
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
    label = first_line(node.action).strip() or "start"
    label = label if len(label) <= CHARACTERS else label[: CHARACTERS - 3] + "..."
    known = f"V {digits(value)}  N {node.visits}" if node.visits else f"rated {digits(value)}"
    facts = known + ("  whole program" if node.terminal else "")
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{COLUMN - 30}" height="{BOX}" rx="4" fill="{colour(value)}" '
        f'stroke="#777"/><text x="{x + 6:.0f}" y="{y + 14:.0f}" xml:space="preserve">{escape(label)}</text>'
        f'<text x="{x + 6:.0f}" y="{y + 28:.0f}" fill="#444">{facts}</text>'
    )
