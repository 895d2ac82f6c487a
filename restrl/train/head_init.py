"""Initialises a value head by ridge regression on the policy's hidden states.

With a head of zeros, the first steps move the whole decoder towards the mean target.  A ridge regression on
the hidden states of the fit set costs one forward pass, and fine-tuning then learns only what the linear
probe misses (linear probing, then fine-tuning: arXiv 2202.10054).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from restrl.model.value_lm import ValueLM
from restrl.objective.tree_packing import pack_trees, tree_batches
from restrl.seeds import derive_seed
from restrl.train.value_data import TargetTree, ValueProblems

FOLDS = 5
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # in units of the features' mean variance
# Two outputs: z = z1 - z0 is regressed on 4 (y - 1/2).  Up to its second order in z, the cross-entropy of
# sigma(z) with the label y is log 2 + (z - 4 (y - 1/2))^2 / 8 - 2 (y - 1/2)^2, so this is its minimum.
SLOPE = 4.0


@torch.no_grad()
def start_head(
    model: ValueLM,
    problems: ValueProblems,
    indices: Sequence[int],
    task_ids: Sequence[str],
    families: Mapping[str, str],
) -> None:
    """Sets the head by ridge regression on the problems ``indices``.

    Cross-validation over families chooses the penalty.  ``task_ids``: of all problems.  Hidden states are
    accumulated in steps, so memory holds no more of them than in a training step.
    """
    model.eval()
    head = model.head
    sums = RidgeSums(head.in_features)
    size = problems.vm.problems_per_step
    for start in range(0, len(indices), size):
        trees: list[TargetTree] = []
        folds: list[int] = []
        for index in indices[start : start + size]:
            problem_trees = problems.read(index)
            trees += problem_trees
            task_id = task_ids[index]
            folds += [derive_seed("fold", families.get(task_id) or task_id) % FOLDS] * len(problem_trees)
        _add(sums, model, trees, folds, problems.vm.tokens_per_microbatch)
    solution = sums.solve().to(head.weight)
    rows = [solution] if head.out_features == 1 else [-solution / 2, solution / 2]
    head.weight.copy_(torch.stack(rows))


def _add(
    sums: RidgeSums, model: ValueLM, trees: Sequence[TargetTree], folds: Sequence[int], budget: int
) -> None:
    """Adds the trees' states, tree i to fold ``folds[i]``, in batches of at most ``budget`` tokens."""
    packed = [item.tree for item in trees]
    for pieces in tree_batches(packed, budget):
        hidden = model.hidden(pack_trees(packed, pieces).to(model.device)).cpu()
        start = 0
        for piece in pieces:
            item, states = trees[piece.tree], list(piece.states)
            values = torch.from_numpy(item.values[states])
            sums.add(
                folds[piece.tree],
                hidden[start : start + len(states)],
                values if model.head.out_features == 1 else SLOPE * (values - 0.5),
                torch.from_numpy(item.weights[states]),
            )
            start += len(states)


class RidgeSums:
    """argmin_w sum_i c_i (w x_i - y_i)^2 + penalty |w|^2, without an intercept, from sums over the states i.

    Cross-validation leaves out one fold at a time.  Memory does not depend on the number of states: it is
    [H, H] float64 per fold.
    """

    def __init__(self, features: int) -> None:
        """``features``: H."""
        self.grams = torch.zeros(FOLDS, features, features, dtype=torch.float64)  # sum c x x^T
        self.products = torch.zeros(FOLDS, features, dtype=torch.float64)  # sum c y x
        self.squares = torch.zeros(FOLDS, dtype=torch.float64)  # sum c y^2
        self.means = torch.zeros(features, dtype=torch.float64)  # sum c x, of all folds
        self.weight = 0.0  # sum c, of all folds

    def add(self, fold: int, x: Tensor, y: Tensor, c: Tensor) -> None:
        """States of one fold: features ``x`` [S, H], values ``y`` and weights ``c`` [S]."""
        x, y, c = x.double(), y.double(), c.double()
        scaled = x * c.unsqueeze(1)
        self.grams[fold] += scaled.T @ x
        self.products[fold] += scaled.T @ y
        self.squares[fold] += (c * y.square()).sum()
        self.means += scaled.sum(0)
        self.weight += float(c.sum())

    def solve(self) -> Tensor:
        """[H] float64, with the penalty that has the smallest error on the folds left out."""
        grams, products = self.grams / self.weight, self.products / self.weight
        gram, product = grams.sum(0), products.sum(0)
        variance = gram.diagonal() - (self.means / self.weight).square()
        scale = variance.mean().clamp(min=1e-12)
        eye = torch.eye(len(gram), dtype=gram.dtype)

        def solve(a: Tensor, b: Tensor, penalty: float) -> Tensor:
            solution: Tensor = torch.linalg.solve(a + penalty * scale * eye, b)
            return solution

        def left_out(penalty: float) -> float:
            """sum c (w x - y)^2 = w G w - 2 w p + sum c y^2 of each fold, w from the others."""
            error = 0.0
            for g, b, square in zip(grams, products, self.squares / self.weight, strict=True):
                w = solve(gram - g, product - b, penalty)
                error += float(w @ g @ w - 2 * w @ b + square)
            return error

        return solve(gram, product, min(PENALTIES, key=left_out))
