"""Value targets once more, straight from their definition: every state with its own copy of its tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    ids: tuple[int, ...]  # sampled after the prompt
    value: float
    visits: int
    terminal: bool
    depth: int


def reference_targets(tree, reuse_rollouts: bool) -> list[Target]:
    found: dict[tuple[str, bool], list] = {}  # by program: tokens and depth that came first, rewards, visits

    def add(ids, text, depth, terminal, value, visits) -> None:
        entry = found.setdefault((text.rstrip(), terminal), [tuple(ids), depth, 0.0, 0])
        entry[2] += value
        entry[3] += visits

    for rollout in tree.rollouts:
        if rollout.rating is None:
            continue
        ids, text = tuple(tree.state_ids(rollout.node)), tree.state_text(rollout.node)
        depth = tree.nodes[rollout.node].depth
        actions = len(rollout.token_ends) + 1
        add(ids + tuple(rollout.ids), text + rollout.text, depth + actions, True, rollout.rating, 1)
        if not reuse_rollouts:
            continue
        for node in tree.path(rollout.node):
            add(tree.state_ids(node), tree.state_text(node), tree.nodes[node].depth, False, rollout.rating, 1)
        for k, (end, character) in enumerate(zip(rollout.token_ends, rollout.text_ends, strict=True), 1):
            start = ids + tuple(rollout.ids[:end])
            add(start, text + rollout.text[:character], depth + k, False, rollout.rating, 1)
    if not reuse_rollouts:
        expanded = {node.parent for node in tree.nodes}
        for index, node in enumerate(tree.nodes):
            if index in expanded and node.visits:
                state = tree.state_ids(index), tree.state_text(index)
                add(*state, node.depth, False, node.value_sum, node.visits)
    return [
        Target(ids, total / visits, visits, terminal, depth)
        for (_, terminal), (ids, depth, total, visits) in found.items()
    ]


def reference_parents(targets: list[Target]) -> list[int]:
    """Of each target the one a single action shorter whose tokens it begins with; -1: there is none."""
    unfinished = {(t.depth, t.ids): i for i, t in enumerate(targets) if not t.terminal}
    return [
        next(
            (p for k in range(len(t.ids)) if (p := unfinished.get((t.depth - 1, t.ids[:k]))) is not None), -1
        )
        for t in targets
    ]


def listed(tree, targets) -> list[Target]:
    """The targets of a record, each with its own tokens."""
    return [
        Target(tuple(tree.program_ids(tree.rollouts[r])[:tokens]), value, visits, bool(terminal), depth)
        for r, tokens, value, visits, terminal, depth in zip(
            targets.rollout, targets.tokens, targets.value, targets.visits, targets.terminal, targets.depth,
            strict=True,
        )
    ]  # fmt: skip
