"""The search once more, straight from the table that defines it: nested dicts, recursion, no speed.

It shares nothing with restrl.search but the language of ``scripted`` and how ties are drawn.  One call of
``visit`` is one iteration; what it returns is what is backed up.

======================  ==========================================  =====================================
what                    collect (reward source: the tests)          decode (reward source: a scorer)
======================  ==========================================  =====================================
reward of a rollout     verdict                                     scorer on the whole program
value of a new child    none (N = 0)                                VM: V = score, N = 1, each repeat of
                                                                    the action another visit; ORM: none
kept visible            the num_decision best children by V         the same; ties in order of arrival
backed up               sum of its n rollouts' rewards, n visits    VM: sums and visits of all its
                        (those without a reward left out)           children; ORM: as collect
terminal leaf           its verdict, later its V; 1 visit           its score, likewise
======================  ==========================================  =====================================
"""

from __future__ import annotations

import math

import numpy as np

from restrl.seeds import derive_seed


def node(program, end=False):
    return {"program": program, "end": end, "kids": {}, "N": 0, "W": 0.0, "mark": None, "shown": True}


def value(n):
    return n["W"] / n["N"] if n["N"] else 0.0


def worth_a_visit(n):
    """Something is left to expand here or below."""
    if n["end"]:
        return False
    return not n.get("grown") or any(worth_a_visit(k) for k in n["kids"].values() if k["shown"])


def reference_trees(problem, mode, config, texts, rate, seed=0):
    """The tree after each iteration, as {(program, end): (N, W, shown)}; ends when nothing is left."""
    rng = np.random.default_rng(derive_seed(seed, "ties"))
    root = node(problem)
    seen = []
    while len(seen) < config.iterations and worth_a_visit(root):
        visit(root, mode, config, texts, rate, rng)
        seen.append(listed(root))
    return seen


def visit(n, mode, config, texts, rate, rng):
    if n["end"]:
        gained = [value(n) if n["N"] else n["mark"]]
    elif n.get("grown"):
        gained = visit(pick(n, config, rng), mode, config, texts, rate, rng)
    else:
        gained = expand(n, mode, config, texts, rate)
    n["N"] += len(gained)
    n["W"] += sum(gained)
    # a node whose children are all hidden cannot be gone through
    if n.get("grown") and not any(k["shown"] for k in n["kids"].values()):
        n["shown"] = False
    return gained


def pick(n, config, rng):
    kids = [k for k in n["kids"].values() if k["shown"]]
    log = math.log(n["N"]) if n["N"] else 0.0
    bounds = [value(k) + config.c * math.sqrt((1 + log) / (config.eps + k["N"])) for k in kids]
    best = [k for k, bound in zip(kids, bounds, strict=True) if bound == max(bounds)]
    return best[0] if len(best) == 1 else best[int(rng.integers(len(best)))]


def expand(n, mode, config, texts, rate):
    n["grown"] = True
    programs, arrivals = [], []
    for text in texts(n["program"], config.sampling.n):
        text = text.rstrip(".")
        lines = text[1:].split("\n") if text else []
        one_line = len(lines) <= 1
        first = text if one_line else "\n" + lines[0]
        kid = n["kids"].setdefault((first, one_line), node(n["program"] + first, one_line))
        programs.append(n["program"] + text)
        arrivals.append(kid)
    rewards = [rate(program, True) for program in programs]
    for kid in arrivals:
        if kid["end"]:
            kid["mark"] = rate(kid["program"], True)
        if mode == "vm":
            score = rate(kid["program"], kid["end"])
            if score is not None:
                kid["W"] += score
                kid["N"] += 1
    able = [k for k in n["kids"].values() if not (k["end"] and k["mark"] is None)]
    kept = sorted(able, key=value, reverse=True)[: config.num_decision]
    for kid in n["kids"].values():
        kid["shown"] = any(kid is k for k in kept)
    if mode == "vm":
        return [rate(k["program"], k["end"]) for k in arrivals if rate(k["program"], k["end"]) is not None]
    return [reward for reward in rewards if reward is not None]


def listed(n):
    below = {}
    for kid in n["kids"].values():
        below |= listed(kid)
    return {(n["program"], n["end"]): (n["N"], n["W"], n["shown"])} | below
