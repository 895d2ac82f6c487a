"""Log-probabilities of tokens from hidden states, a few positions at a time.

The full [T, V] tensor of logits (T positions, V words) never exists, neither in the forward nor in the
backward pass.  The logits of a chunk are computed, reduced to a few numbers per position and dropped; the
backward pass computes them again.  This costs one more product with the output matrix and saves T x V floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogitTerms:
    """The transform of a model's output products to logits: z -> softcap * tanh(scale * z / softcap)."""

    scale: float = 1.0
    softcap: float | None = None  # None: z -> scale * z

    def apply_(self, logits: Tensor) -> Tensor:
        """In place."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.softcap is not None:
            logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits

    def slope(self, logits: Tensor) -> Tensor | float:
        """The derivative, from the result of ``apply_``: scale * (1 - tanh^2)."""
        if self.softcap is None:
            return self.scale
        return (logits / self.softcap).square_().neg_().add_(1).mul_(self.scale)


class TokenLogprobs(NamedTuple):
    """Log-probability and entropy at each target token.

    It is a tuple, because a strategy looks for tensors in what a module returns.
    """

    logprobs: Tensor  # [T] log softmax(logits / temperature)[target], with gradient
    entropy: Tensor  # [T] nats, of softmax(logits / temperature), no gradient

    @property
    def raw(self) -> Tensor:
        """[T] the log-probabilities without gradient, as engines report them."""
        return self.logprobs.detach()


def chunked_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    chunk: int = 256,
    terms: LogitTerms | None = None,
) -> TokenLogprobs:
    """Log-probability of ``targets[t]`` under the logits ``hidden[t] @ weight.T + bias``.

    Args:
        hidden: [T, H] last hidden states at the positions that predict the targets.
        weight: [V, H] output matrix; its gradient is computed only if it is needed.
        targets: [T] long.
        temperature: > 0, divides the logits.
        chunk: number of positions whose logits exist at a time, >= 1.  Peak memory is two rows [V] for each.
        terms: the model's transform of the logits, applied before the temperature.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    out = _ChunkedLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, temperature, chunk, terms or LogitTerms()
    )
    return TokenLogprobs(*out)


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor,
                temperature: float, chunk: int, terms: LogitTerms) -> tuple[Tensor, Tensor]:  # fmt: skip
        count = len(targets)
        logprobs, entropy, lse = (
            torch.empty(count, dtype=torch.float32, device=hidden.device) for _ in range(3)
        )  # no views of one tensor: a strategy hangs its hooks on what a module returns
        buffers = _Buffers(hidden, weight, min(chunk, count), 2)
        for start in range(0, count, chunk):
            part = slice(start, min(start + chunk, count))
            logits, scratch = buffers.logits(hidden[part], weight, bias)
            terms.apply_(logits)
            if temperature != 1.0:
                logits.div_(temperature)
            logprobs[part], entropy[part], lse[part] = _log_softmax_at(logits, targets[part], scratch)
        ctx.save_for_backward(hidden, weight, bias, targets, lse)
        ctx.temperature, ctx.chunk, ctx.terms = temperature, chunk, terms
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, lse = ctx.saved_tensors
        count, temperature = len(targets), ctx.temperature
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # summed in float32 for any dtype of the matrix, because bfloat16 sums lose small terms
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        buffers = _Buffers(hidden, weight, min(ctx.chunk, count), 1)
        for start in range(0, count, ctx.chunk):
            part = slice(start, min(start + ctx.chunk, count))
            (logits,) = buffers.logits(hidden[part], weight, bias)
            slope = ctx.terms.slope(ctx.terms.apply_(logits))
            # d log softmax(z / tau)[y] / dz = (onehot(y) - softmax(z / tau)) / tau
            scale = grad[part].unsqueeze(-1) / temperature
            probs = logits.div_(temperature).sub_(lse[part].unsqueeze(-1)).exp_().mul_(-scale)
            probs.scatter_add_(1, targets[part].unsqueeze(-1), scale)
            probs = probs.mul_(slope).to(weight.dtype)
            if grad_hidden is not None:
                torch.mm(probs, weight, out=grad_hidden[part])
            if grad_weight is not None:
                if weight.dtype == torch.float32:
                    grad_weight.addmm_(probs.T, hidden[part])
                else:
                    grad_weight += probs.T @ hidden[part]
            if grad_bias is not None:
                grad_bias += probs.sum(0)
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight.dtype)
        return grad_hidden, grad_weight, grad_bias, None, None, None, None


class _Buffers:
    """Buffers of logit rows, reused by all chunks: fresh memory would cost a page fault per 4 KiB."""

    def __init__(self, hidden: Tensor, weight: Tensor, rows: int, count: int) -> None:
        self.product = hidden.new_empty(rows, len(weight))
        same = hidden.dtype == torch.float32
        self.rows = [self.product] if same else [hidden.new_empty(rows, len(weight), dtype=torch.float32)]
        self.rows += [torch.empty_like(self.rows[0]) for _ in range(count - 1)]

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
        """The float logits [n, V] of ``hidden`` [n, H], and further buffers of the same shape."""
        rows = [buffer[: len(hidden)] for buffer in self.rows]
        product = self.product[: len(hidden)]
        torch.mm(hidden, weight.T, out=product)
        if bias is not None:
            product.add_(bias)
        if product.dtype != torch.float32:
            rows[0].copy_(product)
        return rows


def _log_softmax_at(logits: Tensor, targets: Tensor, scratch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log softmax at the targets, entropy and log-sum-exp of each row; ``scratch`` is overwritten."""
    top = logits.amax(-1, keepdim=True)
    torch.sub(logits, top, out=scratch).exp_()
    total = scratch.sum(-1)
    lse = total.log() + top.squeeze(-1)
    # H = lse - sum_v p_v z_v; the product of two rows as a batched matrix product makes no third buffer
    mean_logit = torch.bmm(scratch.unsqueeze(1), logits.unsqueeze(2)).flatten() / total
    return logits.gather(1, targets.unsqueeze(-1)).squeeze(-1) - lse, lse - mean_logit, lse
