"""Checks on a few tokens, before a run, that our numbers for a model equal those of transformers.

Packing and decoding have their own implementations of attention and logits.  A model with an unknown feature
would silently get wrong numbers.  So each model is compared with its plain forward pass ("eager") when it is
loaded.  This takes about five forward passes of a dozen tokens each: on one core 40 ms for a tiny model, and
a second for a model with 135M parameters.  Lengths beyond a sliding window or chunk are checked if it is
short; for longer ones we rely on the configuration, which says which layers have it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from restrl.attention import attention_of, base_of, decoder_of, model_name, position_limit
from restrl.engine.base import Engine
from restrl.errors import UserError
from restrl.model.policy_lm import PolicyLM
from restrl.model.value_lm import ValueLM
from restrl.objective.packing import Piece, TokenGroup, pack
from restrl.objective.tree_packing import TokenTree, TreePiece, pack_trees
from restrl.records import Request

PROMPT, NEW = 12, 4  # tokens
SHORT_SPAN = 64  # the check exceeds windows and chunks up to this length
# limits on the difference of log-probabilities (nats) or of hidden states (relative): EXACT bounds the
# maximum in float32, ROUNDED the median in half precision, which rounds in different places
EXACT, ROUNDED = 2e-3, 0.1

Ids = tuple[int, ...]


@torch.no_grad()
def check_sampling(engine: Engine, model: Any) -> None:
    """Compares an engine's prefill and decode steps, for prompts of two lengths, with plain forward passes.

    ``model``: the policy that the engine samples from, as a causal LM of transformers, in the same dtype.
    Raises UserError, in one line that names the model, if they differ or fail.
    """
    model = base_of(model)
    with _one_line(model.config, "sampled from by this engine"):
        prompt = _tokens(decoder_of(model).config)
        requests = [Request(ids, 1, NEW, 1.0, seed=0) for ids in (prompt, prompt[: len(prompt) // 2])]
        for request, (completion,) in zip(requests, engine.generate(requests), strict=True):
            expected = _plain_logprobs(model, request.prompt_ids, completion.ids)
            _compare(torch.tensor(completion.logprobs), expected.cpu(), model.dtype, "log-probabilities")


@torch.no_grad()
def check_training(model: Any) -> None:
    """Compares the packed log-probabilities of a causal LM with plain ones.  Raises as ``check_sampling``."""
    base = base_of(model)
    with _one_line(base.config, "trained"):
        prompt = _tokens(decoder_of(base).config)
        completions = (prompt[:NEW], prompt[1 : 1 + NEW // 2])
        packed = pack([TokenGroup(prompt, completions)], [Piece(0, (0, 1))]).to(base.device)
        logprobs = PolicyLM(base)(packed).logprobs
        expected = torch.cat([_plain_logprobs(base, prompt, ids) for ids in completions])
        _compare(logprobs, expected, base.dtype, "log-probabilities")


@torch.no_grad()
def check_value_model(model: Any) -> None:
    """Compares the inputs of a value model's head in a packed tree with those in transformers' own class.

    Raises as ``check_sampling``.
    """
    with _one_line(model.config, "a value model"):
        value_lm = ValueLM(model)
        prompt = _tokens(value_lm.decoder.config)
        states = (prompt[:NEW], prompt[1 : 1 + NEW // 2])
        batch = pack_trees([TokenTree(prompt, states)], [TreePiece(0, (0, 1), 0)]).to(model.device)
        hidden = value_lm.hidden(batch)
        expected = torch.stack([_head_input(model, value_lm.head, prompt + ids) for ids in states])
        scale = expected.float().norm(dim=-1, keepdim=True) / expected.shape[-1] ** 0.5
        _compare(hidden / scale, expected / scale, model.dtype, "hidden states")


def _head_input(model: Any, head: torch.nn.Linear, ids: Ids) -> Tensor:
    """[H] the hidden state from which transformers' own class computes the value of a sequence."""
    seen: list[Tensor] = []

    def read(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(inputs[0])
        return (inputs[0].to(head.weight.dtype),)  # a float32 head on a bfloat16 decoder

    handle = head.register_forward_pre_hook(read)
    try:
        with _plain(model.base_model):
            model(torch.tensor([ids], device=model.device), use_cache=False)
    finally:
        handle.remove()
    hidden = seen[0]  # [1, T, H], or [1, H] of the last token
    return hidden.reshape(-1, hidden.shape[-1])[-1]


def _plain_logprobs(model: Any, prompt: Ids, ids: Ids) -> Tensor:
    """[len(ids)] by one forward pass over the whole sequence, with the model's own attention."""
    with _plain(decoder_of(model)):
        logits = model(torch.tensor([[*prompt, *ids]], device=model.device), use_cache=False).logits[0]
    logprobs = logits[len(prompt) - 1 : -1].float().log_softmax(-1)
    chosen: Tensor = logprobs.gather(1, torch.tensor(ids, device=model.device).unsqueeze(1)).squeeze(1)
    return chosen


def _plain(decoder: Any) -> contextlib.AbstractContextManager[None]:
    """A context with the attention of the model's own code; transformers' sdpa does not cover every model."""
    return attention_of(decoder, "eager")


def _tokens(config: Any) -> Ids:
    """A random prompt, longer than a short window or chunk, and within the model's context."""
    spans = [getattr(config, key, None) for key in ("sliding_window", "attention_chunk_size")]
    short = [span for span in spans if isinstance(span, int) and span <= SHORT_SPAN]
    room = (position_limit(config) or PROMPT + SHORT_SPAN + NEW) - NEW
    count = max(2, min(PROMPT + max(short, default=0), room))
    tokens = torch.randint(config.vocab_size, (count,), generator=torch.Generator().manual_seed(0))
    return tuple(tokens.tolist())


def _compare(actual: Tensor, expected: Tensor, dtype: torch.dtype, what: str) -> None:
    difference = (actual.float() - expected.float()).abs()
    exact = dtype == torch.float32 and (
        not actual.is_cuda or torch.get_float32_matmul_precision() == "highest"
    )
    worst, limit = (difference.max(), EXACT) if exact else (difference.median(), ROUNDED)
    if not float(worst) <= limit:  # NaN fails too
        raise _DifferenceError(f"its {what} differ from transformers' own by {float(worst):.2g}")


class _DifferenceError(Exception):
    """Our numbers differ from those of the model's own code."""


@contextlib.contextmanager
def _one_line(config: Any, use: str) -> Iterator[None]:
    """Turns any error of an unknown kind of model into a UserError that names the model."""
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except _DifferenceError as error:
        raise UserError(f"{model_name(config)} cannot be {use}: {error}") from None
    except Exception as error:
        why = (str(error).strip() or "no reason given").splitlines()[0]
        raise UserError(f"{model_name(config)} cannot be {use}: {type(error).__name__}: {why}") from error
