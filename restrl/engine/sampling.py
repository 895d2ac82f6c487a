"""Tokens from logits, each row with its own stream of uniform numbers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restrl.seeds import derive_seed

BLOCK = 256  # tokens per block: the search first finds the block, then the token inside it


def uniforms(seed: int, sample: int, count: int) -> NDArray[np.float64]:
    """[count] numbers in [0, 1): all the random numbers of one sample of one request."""
    generator = np.random.Generator(np.random.Philox(derive_seed("sample", seed, sample)))
    return generator.random(count)


def choose(logits: Tensor, temperature: Tensor, top_p: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [B] and their log-probabilities [B]: log softmax(logits / temperature) at the token.

    The log-probabilities are those before ``top_p`` truncates the distribution; for greedy rows they are
    those at temperature 1.  A token is sampled by inverse transform sampling: it is the one at ``uniform`` in
    the cumulative distribution.  The code makes few passes over the vocabulary, because each pass costs as
    much as a layer.

    Args:
        logits: [B, V] float32, overwritten.
        temperature: [B], 0 = greedy.
        top_p: [B] in (0, 1].
        uniform: [B] float64 in [0, 1).
    """
    greedy = temperature == 0
    divisor = torch.where(greedy, 1.0, temperature).unsqueeze(1)
    best = logits.argmax(dim=1) if bool(greedy.any()) else None
    shifted = logits.sub_(logits.amax(dim=1, keepdim=True))
    if bool((divisor != 1).any()):
        shifted.div_(divisor)
    weights = shifted.exp_()  # probabilities times a constant per row
    total = weights.sum(dim=1)
    cut = _nucleus(weights, top_p) if bool((top_p < 1).any()) else weights
    tokens = _inverse_cdf(cut, uniform)
    if best is not None:
        tokens = torch.where(greedy, best, tokens)
    chosen = weights.gather(1, tokens.unsqueeze(1)).squeeze(1)
    return tokens, chosen.log() - total.log()


def _inverse_cdf(weights: Tensor, uniform: Tensor) -> Tensor:
    """The smallest token whose cumulative weight exceeds uniform x total; by blocks, in float64."""
    rows, vocabulary = weights.shape
    padding = -vocabulary % BLOCK
    if padding:
        weights = torch.nn.functional.pad(weights, (0, padding))
    blocks = weights.view(rows, -1, BLOCK)
    cumulative = blocks.sum(dim=2).double().cumsum(dim=1)  # [B, blocks]
    goal = (uniform * cumulative[:, -1]).unsqueeze(1)
    block = torch.searchsorted(cumulative, goal, right=True).clamp_(max=cumulative.shape[1] - 1)  # [B, 1]
    before = torch.where(block > 0, cumulative.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(rows, device=block.device), block.squeeze(1)].double()  # [B, BLOCK]
    within = torch.searchsorted(inside.cumsum(dim=1), goal - before, right=True)
    # rounding may put the goal beyond the block: then take its last token with a positive weight
    positions = torch.arange(BLOCK, device=block.device)
    last = torch.where(inside > 0, positions, -1).amax(dim=1, keepdim=True).clamp_(min=0)
    return (block * BLOCK + torch.minimum(within, last)).squeeze(1)


def _nucleus(weights: Tensor, top_p: Tensor) -> Tensor:
    """Keeps the fewest tokens whose probabilities reach top_p (arXiv 1904.09751)."""
    ordered, index = (weights / weights.sum(dim=1, keepdim=True)).sort(dim=1, descending=True)
    before = ordered.cumsum(dim=1) - ordered
    ordered = torch.where((before < top_p.unsqueeze(1)) | (top_p.unsqueeze(1) == 1), ordered, 0.0)
    return torch.zeros_like(weights).scatter_(1, index, ordered)
