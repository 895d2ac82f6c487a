"""Sampling with a transformers model in this process, on the same module that is trained.

Continuous batching: each prompt is prefilled once for its n samples.  Finished rows leave the batch and
waiting samples take their place, so no step computes a finished row.  Assumes a decoder-only model with
position ids and an attention that ``restrl.attention`` can compute.  Does not share prefixes between
different prompts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from restrl.attention import base_of, decoder_of, position_limit
from restrl.config import EngineConfig
from restrl.engine.attention import decode_attention
from restrl.engine.base import Capabilities, EngineSource, Weights
from restrl.engine.cache import PromptCache, RowCache, rows_that_fit
from restrl.engine.sampling import choose, uniforms
from restrl.engine.text import Vocabulary, cut_at_stop
from restrl.errors import UserError
from restrl.protocols import Progress
from restrl.records import Completion, Finish, Request

PREFILL_TOKENS = 4096  # tokens of one prefill, including padding; bounds its memory


@dataclass
class _Row:
    """An unfinished completion."""

    request: int
    sample: int
    prompt_length: int
    token: int  # input of the next step: first the last token of the prompt, then the latest sampled token
    limit: int  # maximum of new tokens
    uniforms: NDArray[np.float64]  # [limit]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tail: str = ""  # the last characters, enough to find a stop string that has just ended
    finish: Finish | None = None


@dataclass
class _Prompt:
    """A prefilled request some of whose samples have no row yet."""

    request: int
    kv: list[tuple[Tensor, Tensor]]  # per layer [prompts of the prefill, kv_heads, P, D]
    source: int  # index of this prompt in the prefill
    waiting: list[int]  # samples without a row


def build(source: EngineSource, config: EngineConfig) -> HfEngine:
    return HfEngine(source.module(), source.tokenizer, config)


class HfEngine:
    """``model``: a causal LM of transformers, possibly with adapters; it stays on its device."""

    capabilities = Capabilities(shares_weights=True, syncs=True, token_ids=True, logprobs=True, seeds=True)

    def __init__(self, model: Any, tokenizer: Any, config: EngineConfig) -> None:
        self.model = base_of(model)
        self.config = config
        self.vocabulary = Vocabulary(tokenizer)
        ends = getattr(self.model.generation_config, "eos_token_id", None)
        ends = ends if isinstance(ends, list) else [ends]
        self.eos = {int(end) for end in [*ends, tokenizer.eos_token_id] if end is not None}

    def generate(
        self, requests: Sequence[Request], advance: Progress | None = None, /
    ) -> list[tuple[Completion, ...]]:
        """See ``restrl.engine.base.Engine``.  Raises UserError for a prompt that the model cannot take."""
        limits = [self._limit(request) for request in requests]
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            with torch.no_grad(), decode_attention(self.model):
                return _Run(self, requests, limits, advance).results()
        finally:
            for module in training:
                module.training = True

    def sync(self, weights: Weights, /) -> None:
        """Does nothing: the engine samples with the weights in training."""

    def settle(self) -> None:
        """Does nothing: each rank has an engine of its own."""

    def sleep(self) -> None:
        """Does nothing: all memory of a call is freed at its end."""

    def close(self) -> None:
        """Does nothing: the caller owns the model."""

    def _limit(self, request: Request) -> int:
        """The limit on new tokens of a request: ``max_tokens``, or less if the context is shorter."""
        if not request.prompt_ids:
            raise UserError("a request needs at least one prompt token")
        positions = position_limit(decoder_of(self.model).config)
        room = request.max_tokens if positions is None else positions - len(request.prompt_ids)
        if room < 1:
            raise UserError(
                f"a prompt of {len(request.prompt_ids)} tokens leaves no room in the model's {positions}: "
                "leave the problem out or choose a model with a longer context"
            )
        return min(request.max_tokens, room)


class _Run:
    """One call of ``generate``."""

    def __init__(
        self, engine: HfEngine, requests: Sequence[Request], limits: Sequence[int], advance: Progress | None
    ) -> None:
        self.engine = engine
        self.requests = requests
        self.limits = limits
        self.advance = advance
        self.device = engine.model.device
        # the longest prompts first, so that prompts of one prefill have similar lengths and little padding
        lengths = {index: len(request.prompt_ids) for index, request in enumerate(requests) if request.n > 0}
        self.queue = deque(sorted(lengths, key=lambda index: -lengths[index]))
        self.prompts: deque[_Prompt] = deque()
        self.rows: list[_Row] = []
        total = sum(request.n for request in requests)
        longest = max((lengths[index] + limits[index] for index in lengths), default=1)
        self.cache = RowCache(max(1, min(engine.config.batch_size, total)), longest)
        self.done: list[dict[int, Completion]] = [{} for _ in requests]

    def results(self) -> list[tuple[Completion, ...]]:
        while self.queue or self.prompts or self.rows:
            self._admit()
            if self.rows:
                self._decode()
        return [tuple(done[sample] for sample in range(len(done))) for done in self.done]

    def _admit(self) -> None:
        """Fills free rows with waiting samples; prefills requests when they get their first row."""
        while len(self.rows) < self.cache.capacity_rows:
            if not self.prompts:
                if not self.queue:
                    return
                self._prefill(self.cache.capacity_rows - len(self.rows))
            free = self.cache.capacity_rows - len(self.rows)
            prompt = self.prompts[0]
            samples, prompt.waiting = prompt.waiting[:free], prompt.waiting[free:]
            if not prompt.waiting:
                self.prompts.popleft()
            self._start(prompt, samples)

    def _prefill(self, free: int) -> None:
        """Prefills the next requests, enough to fill ``free`` rows."""
        chosen: list[int] = []
        longest = rows = 0
        while self.queue and rows < free:
            request = self.requests[self.queue[0]]
            longest = max(longest, len(request.prompt_ids))
            if chosen and longest * (len(chosen) + 1) > PREFILL_TOKENS:
                break
            rows += request.n
            chosen.append(self.queue.popleft())
        # padding is on the right, where no prompt token attends to it
        ids = pad_sequence([torch.tensor(self.requests[i].prompt_ids) for i in chosen], batch_first=True)
        cache = PromptCache()
        decoder_of(self.engine.model)(
            input_ids=ids.to(self.device),
            position_ids=torch.arange(ids.shape[1], device=self.device).unsqueeze(0),
            past_key_values=cache,
            use_cache=True,
        )
        if not self.cache.rows:  # the first prefill shows the size of a token's keys and values
            budget = self.engine.config.kv_gb * 2**30
            fitting = rows_that_fit(budget, cache.bytes_per_token, self.cache.max_length)
            self.cache.capacity_rows = min(self.cache.capacity_rows, fitting)
        for place, index in enumerate(chosen):
            self.prompts.append(_Prompt(index, cache.layers_kv, place, list(range(self.requests[index].n))))

    def _start(self, prompt: _Prompt, samples: Sequence[int]) -> None:
        """Gives rows to samples of a prefilled prompt; the next step computes the prompt's last token."""
        request, limit = self.requests[prompt.request], self.limits[prompt.request]
        length, last = len(request.prompt_ids), request.prompt_ids[-1]
        self.cache.add(prompt.kv, prompt.source, length - 1, len(samples))
        self.rows += [
            _Row(prompt.request, sample, length, last, limit, uniforms(request.seed, sample, limit))
            for sample in samples
        ]

    def _decode(self) -> None:
        """Samples one more token for every row."""
        lengths = torch.tensor([row.prompt_length + len(row.ids) - 1 for row in self.rows])
        longest = int(lengths.max()) + 1
        hidden = torch.arange(longest) > lengths.unsqueeze(1)
        model = self.engine.model
        mask = torch.zeros(hidden.shape, dtype=model.dtype).masked_fill_(hidden, float("-inf"))
        lengths = lengths.to(self.device)
        self.cache.expect(lengths, longest)
        logits = model(
            input_ids=torch.tensor([[row.token] for row in self.rows], device=self.device),
            attention_mask=mask[:, None, None, :].to(self.device),
            position_ids=lengths.unsqueeze(1),
            past_key_values=self.cache,
            use_cache=True,
        ).logits
        self._append(logits[:, -1].float())
        self._leave()

    def _append(self, logits: Tensor) -> None:
        """Samples a token for each row from its logits [rows, V]; marks rows that this token finishes."""
        rows = self.rows
        requests = [self.requests[row.request] for row in rows]
        numbers = partial(torch.tensor, dtype=torch.float32, device=logits.device)
        tokens, logprobs = choose(
            logits,
            numbers([request.temperature for request in requests]),
            numbers([request.top_p for request in requests]),
            torch.tensor(np.array([row.uniforms[len(row.ids)] for row in rows]), device=logits.device),
        )
        sampled = zip(rows, requests, tokens.tolist(), logprobs.tolist(), strict=True)
        for row, request, token, logprob in sampled:
            if not isfinite(logprob):
                raise UserError("engine=hf: the model's logits are not finite; its weights have diverged")
            row.ids.append(token)
            row.token = token
            row.logprobs.append(logprob)
            row.finish = self._finish(row, request)

    def _finish(self, row: _Row, request: Request) -> Finish | None:
        if row.ids[-1] in self.engine.eos:
            return "eos"
        if request.stop:
            piece = self.engine.vocabulary.piece(row.ids[-1])
            row.tail = row.tail[-max(map(len, request.stop)) :] + piece
            if any(stop in row.tail for stop in request.stop):
                return "stop"
        return "length" if len(row.ids) >= row.limit else None

    def _leave(self) -> None:
        """Takes the finished rows out of the batch."""
        kept = [index for index, row in enumerate(self.rows) if row.finish is None]
        if len(kept) == len(self.rows):
            return
        for row in self.rows:
            if row.finish is not None:
                self.done[row.request][row.sample] = self._completion(row)
        if self.advance is not None:
            self.advance(len(self.rows) - len(kept))
        longest = max(row.prompt_length + len(row.ids) for row in self.rows)
        order = self.cache.keep(kept, longest)
        self.rows = [self.rows[index] for index in order]

    def _completion(self, row: _Row) -> Completion:
        assert row.finish is not None
        ids = row.ids[:-1] if row.finish == "eos" else row.ids
        text = self.engine.vocabulary.text(ids)
        trailing = None
        if row.finish == "stop":
            text, trailing = cut_at_stop(text, self.requests[row.request].stop)
        return Completion(tuple(row.ids), text, tuple(row.logprobs), row.finish, trailing)
