"""Selection by upper confidence bounds (ReST-RL, arXiv 2508.19576; UCT: Kocsis and Szepesvari 2006)."""

from __future__ import annotations

import math

import numpy as np

from restrl.search.tree import Node


def upper_bound(child: Node, parent_visits: int, c: float, eps: float) -> float:
    """V(child) + c sqrt((1 + ln N(parent)) / (eps + N(child))); N(parent) = 0 counts as ln N = 0."""
    bonus = math.sqrt((1.0 + math.log(max(1, parent_visits))) / (eps + child.visits))
    return child.value + c * bonus


def select(root: Node, c: float, eps: float, revisit: bool, rng: np.random.Generator) -> Node:
    """Follows the visible child with the largest bound down to a leaf; ``rng`` breaks ties.

    Without ``revisit``, closed children are skipped.  The root must not be closed.
    """
    node = root
    while node.children:
        allowed = [child for child in node.children if child.visible and (revisit or not child.closed)]
        bounds = [upper_bound(child, node.visits, c, eps) for child in allowed]
        best = max(bounds)
        ties = [child for child, bound in zip(allowed, bounds, strict=True) if bound == best]
        node = ties[0] if len(ties) == 1 else ties[int(rng.integers(len(ties)))]
    return node
