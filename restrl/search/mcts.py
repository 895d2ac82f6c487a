"""Monte Carlo tree search over programs, line by line (ReST-RL, arXiv 2508.19576, section 3.2).

A search is plain sequential code that yields its calls (``calls.py``).  It does not know who serves them, or
which other searches are served in the same batch.  Programs are valued by a reward source: the tests
(collect) or a scorer (decode).  ``RewardSource`` holds the differences between the two.

Edge cases:

* An empty or blank completion means that the state is a whole program: a terminal child without an action.
* A completion that reached the length limit is judged as it is.  If its first line is complete, that line is
  a child.  If its only line is incomplete, the child is terminal, because no tokens remain to complete it.
* ``max_tokens`` limits the whole program: a completion may take ``max_tokens`` minus the tokens of its state.
* A terminal child that could not be judged is hidden, and the next best child is visible instead.
* A node without a visible child (nothing was sampled, or nothing could be judged) is hidden too.
* A rollout without a reward counts neither in a sum nor in a number of visits.  If no rollout of a leaf has
  a reward, nothing is backed up; its children are added all the same.
* A tree whose visible leaves are all terminal is exhausted and ends, even with budget left.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from restrl.config import MctsConfig
from restrl.records import Cost, Request, State
from restrl.search.calls import Call, Generate, Rate, Reply, Search
from restrl.search.cut import Cut
from restrl.search.tree import Node, Rollout, Tree
from restrl.search.uct import select
from restrl.seeds import derive_seed


@dataclass(frozen=True)
class RewardSource:
    """The source of rewards for programs: the differences between the paper's two searches, as data."""

    verifies: bool  # runs the tests: its calls count as verifier calls
    rates_states: bool  # values new children too; their values are backed up instead of the rollouts' ratings


TESTS = RewardSource(verifies=True, rates_states=False)  # collect
OUTCOME = RewardSource(verifies=False, rates_states=False)  # decode with an ORM
STATE = RewardSource(verifies=False, rates_states=True)  # decode with a PRM or a value model


@dataclass(frozen=True)
class Rules:
    """The settings of a search."""

    config: MctsConfig
    reward_source: RewardSource
    cut: Cut
    stop: tuple[str, ...]  # strings that end a completion
    greedy_first: bool = False  # the first completion of the tree is the greedy one


def search(tree: Tree, rules: Rules) -> Search:
    """Iterations until the budget is spent or nothing is left to expand."""
    rng = np.random.default_rng(derive_seed(tree.start.seed, "ties"))
    while not tree.exhausted and not spent(tree, rules.config):
        yield from iterate(tree, rules, rng)
        tree.iterations += 1


def spent(tree: Tree, config: MctsConfig) -> bool:
    """Whether a limit is reached.  The last iteration may exceed the limits on tokens and seconds."""
    return any(
        limit is not None and used >= limit
        for used, limit in (
            (tree.iterations, config.iterations),
            (tree.cost.completions, config.completions),
            (tree.cost.model_tokens, config.model_tokens),
            (tree.cost.seconds, config.seconds),
        )
    )


def iterate(tree: Tree, rules: Rules, rng: np.random.Generator) -> Search:
    """One iteration: select, expand, rate, back up."""
    config, source = rules.config, rules.reward_source
    leaf = select(tree.root, config.c, config.eps, config.revisit_terminals, rng)
    if leaf.terminal:
        back_up(leaf, [leaf.rating])  # later visits back up the same value: its V
        return
    rollouts = yield from sample(tree, leaf, rules)
    arrivals = [child_of(leaf, rollout) for rollout in rollouts]  # equal actions share one child
    yield from rate(tree, arrivals, rollouts, source)
    if source.rates_states:
        for child in arrivals:  # V = score, N = 1; each repeat of the action is another visit
            child.visit([child.rating])
    show_best(leaf, config.num_decision)
    back_up(leaf, [rated.rating for rated in (arrivals if source.rates_states else rollouts)])


def back_up(leaf: Node, values: Sequence[float | None]) -> None:
    """Adds the values to W and their number to N, from the leaf to the root.  None is not a value."""
    for node in leaf.path():
        node.visit(values)


def sample(tree: Tree, leaf: Node, rules: Rules) -> Generator[Call, Reply, list[Rollout]]:
    """Completions of the leaf's state, each cut into actions.

    With ``greedy_first`` the first of the root's n completions is greedy; the others are those that would be
    the first n - 1 without it.
    """
    sampling, limit = rules.config.sampling, rules.config.completions
    request = Request(
        prompt_ids=tree.start.prompt_ids + leaf.state_ids(),
        n=sampling.n if limit is None else min(sampling.n, limit - tree.cost.completions),
        max_tokens=sampling.max_tokens - leaf.length,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop=rules.stop,
        seed=derive_seed(tree.start.seed, "samples", tree.iterations),
        label=f"task_id {tree.start.task_id!r}",
    )
    requests = [request]
    if rules.greedy_first and leaf is tree.root:
        greedy = replace(request, n=1, temperature=0.0, top_p=1.0)
        requests = [greedy, *([replace(request, n=request.n - 1)] if request.n > 1 else [])]
    rollouts: list[Rollout] = []
    for request in requests:
        reply = yield Generate(request)
        tokens = sum(len(sampled.ids) for sampled in reply.samples)
        tree.cost += Cost(len(reply.samples), tokens, seconds=reply.seconds)
        rollouts += [
            Rollout(leaf, sampled.ids, sampled.text, sampled.finish, rules.cut(sampled.ids, sampled.text))
            for sampled in reply.samples
        ]
    tree.rollouts += rollouts
    return rollouts


def child_of(leaf: Node, rollout: Rollout) -> Node:
    """The child that the rollout's first action leads to: an existing one, or a new one.

    Actions that differ only in trailing white space are equal.  The last line of a program and the same line
    with more code after it are different actions.
    """
    terminal = not rollout.ends
    tokens, characters = (len(rollout.ids), len(rollout.text)) if terminal else rollout.ends[0]
    action = rollout.text[:characters]
    for child in leaf.children:
        if child.terminal == terminal and child.action.rstrip() == action.rstrip():
            return child
    child = Node(leaf, action, rollout.ids[:tokens], terminal)
    leaf.children.append(child)
    return child


def rate(tree: Tree, children: Sequence[Node], rollouts: Sequence[Rollout], source: RewardSource) -> Search:
    """Rates the rollouts' programs, and those of the children that the reward source can rate.

    A state that has a rating, such as a program that was sampled twice, is not rated again.
    """
    states: dict[Node | Rollout, State] = {
        child: tree.state(child) for child in children if child.terminal or source.rates_states
    }
    states |= {rollout: tree.program(rollout) for rollout in rollouts}
    new = {
        (state.text, state.terminal): state
        for state in states.values()
        if (state.text, state.terminal) not in tree.ratings
    }
    if new:
        reply = yield Rate(tuple(new.values()))
        rated = {key: r for key, r in zip(new, reply.ratings, strict=True) if r is not None}
        tree.ratings.update(rated)
        verified = len(new) if source.verifies else 0
        tree.cost += Cost(0, 0, verified, len(new) - verified, reply.seconds)
    for item, state in states.items():
        item.rating = tree.ratings.get((state.text, state.terminal))


def show_best(leaf: Node, num_decision: int) -> None:
    """Keeps the ``num_decision`` best children visible; among equal ones, the first to arrive.

    Then marks exhausted nodes up to the root, and hides nodes without a visible child.
    """
    candidates = [child for child in leaf.children if not (child.terminal and child.rating is None)]
    best = sorted(candidates, key=lambda child: -child.value)[:num_decision]
    for child in leaf.children:
        child.visible = child in best
    for node in reversed(leaf.path()):
        visible = [child for child in node.children if child.visible]
        node.visible = bool(visible)
        node.closed = all(child.closed for child in visible)
        if not node.closed:
            return
