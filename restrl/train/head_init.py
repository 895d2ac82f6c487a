"""A head that starts as the best linear reading of the policy's own hidden states.

From zero, the first steps move the whole decoder towards the mean target.  A ridge regression on the hidden
states of the fit set costs one forward pass and leaves the steps to what a linear reading misses (first
probe, then fine-tune: arXiv 2202.10054).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from restrl.config import VmConfig
from restrl.model.value import decoder_and_score
from restrl.objective.tree_packing import pack_trees, tree_batches
from restrl.objective.value_loss import state_hidden
from restrl.seeds import derive_seed
from restrl.train.value_data import TargetTree, target_weights

FOLDS = 5
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # of the features' mean variance
SLOPE = 4.0  # d logit / d p at p = 1/2: how far apart two outputs are for a value near there


@torch.no_grad()
def start_head(model: Any, trees: Sequence[TargetTree], families: Mapping[str, str], vm: VmConfig) -> None:
    """Sets the head by ridge regression on the trees; cross-validation over families chooses its penalty."""
    decoder, head = decoder_and_score(model)
    targets = [target for item in trees for target in item.targets]
    folds = [
        derive_seed("fold", families.get(target.task_id) or target.task_id) % FOLDS for target in targets
    ]
    values = torch.tensor([target.value for target in targets], dtype=torch.float64)
    solution = ridge(
        _features(decoder, trees, vm.tokens_per_microbatch),
        values if head.out_features == 1 else SLOPE * (values - 0.5),
        torch.tensor(target_weights(targets, vm.weight), dtype=torch.float64),
        torch.tensor(folds),
    ).to(head.weight)
    rows = [solution] if head.out_features == 1 else [-solution / 2, solution / 2]
    head.weight.copy_(torch.stack(rows))


def ridge(features: Tensor, values: Tensor, weights: Tensor, folds: Tensor) -> Tensor:
    """[H] argmin_w sum_i c_i (w x_i - y_i)^2 + penalty |w|^2, without an intercept.

    ``features`` x [S, H], ``values`` y and ``weights`` c [S]; ``folds`` [S] long in [0, FOLDS): states that
    are left out together.  The penalty with the least error on the folds left out is taken.
    """
    x, y, c = features.double(), values.double(), weights.double() / weights.sum()
    grams, products = [], []
    for fold in range(FOLDS):
        some = folds == fold
        scaled = x[some] * c[some].unsqueeze(1)
        grams.append(scaled.T @ x[some])
        products.append(scaled.T @ y[some])
    gram, product = torch.stack(grams).sum(0), torch.stack(products).sum(0)
    mean = (x * c.unsqueeze(1)).sum(0)
    scale = (gram.diagonal() - mean.square()).mean().clamp(min=1e-12)

    def solve(a: Tensor, b: Tensor, penalty: float) -> Tensor:
        solution: Tensor = torch.linalg.solve(a + penalty * scale * torch.eye(len(a), dtype=a.dtype), b)
        return solution

    def left_out(penalty: float) -> float:
        error = 0.0
        for fold in range(FOLDS):
            some = folds == fold
            w = solve(gram - grams[fold], product - products[fold], penalty)
            error += float((c[some] * (x[some] @ w - y[some]).square()).sum())
        return error

    return solve(gram, product, min(PENALTIES, key=left_out))


def _features(decoder: Any, trees: Sequence[TargetTree], budget: int) -> Tensor:
    """[S, H] float32 hidden states at the states' ends, in the order of the targets."""
    packed = [item.tree for item in trees]
    rows: dict[tuple[int, int], Tensor] = {}
    decoder.eval()
    device = next(decoder.parameters()).device
    for pieces in tree_batches(packed, budget):
        hidden = state_hidden(decoder, pack_trees(packed, pieces).to(device)).float().cpu()
        states = [(piece.tree, state) for piece in pieces for state in piece.states]
        rows |= dict(zip(states, hidden, strict=True))
    return torch.stack([rows[t, s] for t, item in enumerate(trees) for s in range(len(item.targets))])
