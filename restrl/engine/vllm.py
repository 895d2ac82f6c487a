"""Sampling with vLLM (0.32), on the devices of this run.

The engine has a copy of the policy's weights, and ``sync`` writes new weights over them in place.  It starts
once per run.  Prefix caching is on, so the samples of a prompt share its keys and values, as do the states of
a search tree with their prefixes (whole blocks of 16 tokens on a GPU, 128 on a CPU).

**Processes.**  Alone on one device, the engine runs in this process, in a thread of its own: weights are
passed by reference, and trainer and engine take turns.  With ``tensor_parallel`` above 1 or ``own_process``,
vLLM starts processes; weights then go through files in shared memory, one bucket at a time.  If several ranks
train, the engine runs in their processes, one for each ``tensor_parallel`` consecutive ranks, started by
vLLM's external launcher: it uses the processes and devices that the ranks have, where vLLM's own executor
would start processes that compete with the ranks for their GPUs.  The ranks of such a team give their parts
of the engine the same requests in the same order: each call samples the requests of all of them, and
``settle`` lets a rank without requests take part.

**Samples.**  A request of n samples becomes n requests of one sample, each with a seed derived from the
request's seed and the sample's number.  So a sample does not depend on its neighbours, up to the rounding of
the logits: in float32 this changes next to nothing, in bfloat16 it changes most samples.
"""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Sequence
from math import isfinite
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, GenerationConfig

from restrl.config import EngineConfig
from restrl.engine import vllm_start
from restrl.engine.base import Capabilities, EngineSource, Weights
from restrl.engine.buckets import buckets
from restrl.engine.calls import CallThread, DeadError, StuckError, Work
from restrl.engine.text import Vocabulary, cut_at_stop
from restrl.engine.vllm_start import RequestOutputKind, SamplingParams, tokens_input
from restrl.errors import UserError
from restrl.protocols import Progress
from restrl.records import Completion, Finish, Request
from restrl.seeds import derive_seed

T = TypeVar("T")

LOWEST_TEMPERATURE = 0.01  # vLLM raises lower ones to it
CLOSE_SECONDS = 60.0
GIB = 2**30


def build(source: EngineSource, config: EngineConfig) -> VllmEngine:
    return VllmEngine(source, config)


class VllmEngine:
    """See ``restrl.engine.base.Engine``.  Raises UserError, in one line, if the engine does not start."""

    in_process = False  # whether there is one in this process: vLLM's global state allows one at a time

    def __init__(self, source: EngineSource, config: EngineConfig) -> None:
        self.capabilities = Capabilities(
            shares_weights=False,
            syncs=True,
            token_ids=True,
            logprobs=True,
            seeds=True,
            sleeps=source.device.type == "cuda",
        )
        self.config = config
        self.positions = source.positions
        self.vocabulary = Vocabulary(source.tokenizer)
        self.eos = _ends(source)
        self.log = vllm_start.log_file(source)
        self.device = source.device
        self._ranks = source.ranks
        self._team = vllm_start.team(source, config)
        self._by_file = vllm_start.separate(source, config)
        if VllmEngine.in_process and not self._by_file:
            raise RuntimeError("close the other vLLM engine in this process first")
        self._asleep = False
        self._broken = ""  # why it cannot be used any more
        self._calls = 0  # of generate, for the names of requests
        self._thread = CallThread("vllm")
        start = _once(vllm_start.start, source, config, self.log)
        self._engine = self._run(start, "start", config.start_seconds)
        VllmEngine.in_process |= not self._by_file
        self.length: int = self._engine.model_config.max_model_len

    def generate(
        self, requests: Sequence[Request], advance: Progress | None = None, /
    ) -> list[tuple[Completion, ...]]:
        """See ``restrl.engine.base.Engine``.  Raises UserError for a prompt that the model cannot take."""
        for request in requests:
            self._limit(request)
        return self._share(list(requests), advance) or []

    def settle(self) -> None:
        """See ``restrl.engine.base.Engine``."""
        while self._share(None) is not None:
            pass

    def _share(
        self, requests: list[Request] | None, advance: Progress | None = None
    ) -> list[tuple[Completion, ...]] | None:
        """The completions of this rank's requests, sampled together with those of its team.

        ``requests``: None if this rank has settled.  Returns None if the whole team has.
        """
        parts = self._team.gather(requests)
        if all(part is None for part in parts):
            return None
        everyone = [request for part in parts for request in part or ()]
        first = sum(len(part or ()) for part in parts[: self._team.rank])
        mine = range(first, first + len(requests or ()))
        if not any(request.n for request in everyone):
            return [() for _ in mine]
        self._wake()
        self._calls += 1
        work = self._sample(f"{self._calls}", everyone, mine)
        samples = self._run(work, "take a step of sampling", self.config.step_seconds, advance)
        return [samples[index] for index in mine]

    def sync(self, weights: Weights, /) -> None:
        """Loads new weights, and forgets the keys and values of the old ones.

        A failure halfway leaves a mixture, so the engine refuses to sample after it.
        """
        self._wake()
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # the engine's thread may use another stream
        try:
            self._rpc("restrl_begin_sync")
            for bucket in buckets(weights):
                self._load(bucket)
            (missing, *_) = self._rpc("restrl_end_sync")
            if missing:
                raise UserError(f"engine=vllm: no new weights for {missing[0]} ({len(missing)} are missing)")
            if not self._call(self._engine.reset_prefix_cache):
                raise UserError("engine=vllm: the cache of the old weights could not be cleared")
        except BaseException:
            self._broken = self._broken or "its last sync failed"
            raise

    def sleep(self) -> None:
        """Moves the weights to the host's memory and frees keys and values, on a GPU."""
        if not self.capabilities.sleeps or self._asleep:
            return
        before = self._memory()
        self._call(self._engine.sleep, 1)
        self._asleep = True
        self._note(f"asleep: {before:.1f} GiB of the GPU in use before, {self._memory():.1f} GiB after")

    def close(self) -> None:
        if self._broken != "closed":
            self._broken = "closed"
            try:
                self._thread.run(_once(vllm_start.close, self._engine, self._ranks), CLOSE_SECONDS)
            except Exception as error:  # it ends with this process
                self._note(f"closing failed: {error!r}")
            self._thread.end(CLOSE_SECONDS)
            VllmEngine.in_process &= self._by_file
            del self._engine

    # --- calls of the engine

    def _run(self, work: Work[T], what: str, seconds: float, advance: Progress | None = None) -> T:
        """Runs ``work`` in the engine's thread.  Raises UserError if the engine fails or is stuck."""
        if self._broken:
            work.close()
            raise UserError(f"engine=vllm cannot be used any more: {self._broken}; its log: {self.log}")
        try:
            return self._thread.run(work, seconds, advance, self._alive)
        except UserError:
            raise
        except (StuckError, DeadError) as error:
            how = f"within {seconds:g} s" if isinstance(error, StuckError) else "because its process ended"
            self._broken = f"it did not {what} {how}"
            self._thread = CallThread("vllm")  # the other one may wait for ever
        except Exception as error:
            self._broken = f"it failed to {what}: {_first_line(error)}"
            self._note(traceback.format_exc())
        raise UserError(
            f"engine=vllm: {self._broken}; its log: {self.log}; the same command goes on from here"
        )

    def _alive(self) -> bool:
        """Whether the engine's processes are running, if it has any."""
        return not self._by_file or not hasattr(self, "_engine") or vllm_start.alive(self._engine)

    def _call(self, function: Any, *arguments: Any) -> Any:
        name = getattr(function, "__name__", "call").replace("_", " ")
        return self._run(_once(function, *arguments), name, self.config.step_seconds)

    def _rpc(self, method: str, *arguments: Any) -> list[Any]:
        """The results of a method of ``WorkerExtension``, one for each worker."""
        what = method.removeprefix("restrl_").replace("_", " ")
        work = _once(self._engine.collective_rpc, method, None, arguments)
        return self._run(work, what, self.config.step_seconds)

    def _wake(self) -> None:
        """Checks that the engine answers, and that it is awake."""
        self._rpc("restrl_ping")
        if self._asleep:
            before = self._memory()
            self._call(self._engine.wake_up)
            self._asleep = False
            self._note(f"awake: {before:.1f} GiB of the GPU in use before, {self._memory():.1f} GiB after")

    def _memory(self) -> float:
        """GiB in use on the fullest GPU."""
        return float(max(self._rpc("restrl_memory")) / GIB)

    def _note(self, text: str) -> None:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} restrl: {text}\n")

    # --- weights

    def _load(self, bucket: list[tuple[str, torch.Tensor]]) -> None:
        if not self._by_file:
            self._rpc("restrl_load", bucket)
            return
        place = vllm_start.SHARED_MEMORY if vllm_start.SHARED_MEMORY.is_dir() else None
        with tempfile.TemporaryDirectory(prefix="restrl-", dir=place) as folder:
            path = os.path.join(folder, "bucket.safetensors")
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in bucket}, path)
            self._rpc("restrl_load", path)

    # --- samples

    def _limit(self, request: Request) -> int:
        """The limit on new tokens of a request: ``max_tokens``, or less if the context is shorter."""
        count = len(request.prompt_ids)
        if not count:
            raise UserError("a request needs at least one prompt token")
        if 0 < request.temperature < LOWEST_TEMPERATURE:
            raise UserError(
                f"engine=vllm: a temperature of {request.temperature} is too low; use 0 (greedy) or at least "
                f"{LOWEST_TEMPERATURE}"
            )
        room = request.max_tokens if self.positions is None else self.positions - count
        if room < 1:
            raise UserError(
                f"a prompt of {count} tokens leaves no room in the model's {self.positions}: "
                "leave the problem out or choose a model with a longer context"
            )
        limit = min(request.max_tokens, room)
        if count + limit > self.length:
            raise UserError(
                f"engine.kv_gb={self.config.kv_gb:g} has room for {self.length} tokens, and a prompt of "
                f"{count} tokens with {limit} new ones needs more; raise it"
            )
        return limit

    def _sample(
        self, call: str, requests: Sequence[Request], mine: range
    ) -> Work[list[tuple[Completion, ...]]]:
        """Runs in the engine's thread.  ``mine``: the indices of the requests whose progress counts."""
        engine, waiting = self._engine, dict[str, tuple[int, int]]()
        done: list[dict[int, Completion]] = [{} for _ in requests]
        try:
            for index, request in enumerate(requests):
                limit = self._limit(request)
                for sample in range(request.n):
                    name = f"{call}-{index}-{sample}"
                    waiting[name] = index, sample
                    prompt = tokens_input(list(request.prompt_ids))
                    engine.add_request(name, prompt, self._parameters(request, sample, limit))
                yield 0
            while waiting:
                finished = 0
                for output in engine.step():
                    if output.finished:
                        index, sample = waiting.pop(output.request_id)
                        done[index][sample] = self._completion(requests[index], output.outputs[0])
                        finished += index in mine
                yield finished
        finally:
            if waiting and not self._broken:  # interrupted, or failed
                engine.abort_request(list(waiting))
        return [tuple(samples[sample] for sample in range(len(samples))) for samples in done]

    def _parameters(self, request: Request, sample: int, limit: int) -> SamplingParams:
        return SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=limit,
            seed=derive_seed("sample", request.seed, sample),
            stop=list(request.stop),
            stop_token_ids=sorted(self.eos),
            logprobs=0,  # those of the sampled tokens alone
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _completion(self, request: Request, output: Any) -> Completion:
        ids = tuple(output.token_ids)
        logprobs = tuple(entry[token].logprob for entry, token in zip(output.logprobs, ids, strict=True))
        if not all(map(isfinite, logprobs)):
            raise UserError("engine=vllm: the model's logits are not finite; its weights have diverged")
        finish: Finish = "length"
        if output.finish_reason == "stop":
            finish = "stop" if isinstance(output.stop_reason, str) else "eos"
        elif output.finish_reason != "length":
            raise RuntimeError(f"a request ended with {output.finish_reason}")
        text, trailing = self.vocabulary.text(ids[:-1] if finish == "eos" else ids), None
        if finish == "stop":
            text, trailing = cut_at_stop(text, request.stop)
        return Completion(ids, text, logprobs, finish, trailing)


def _once(function: Any, *arguments: Any) -> Work[Any]:
    """A call of one step."""
    yield 0
    return function(*arguments)


def _ends(source: EngineSource) -> set[int]:
    """The tokens that end a completion: those of the model's generation settings and of its tokenizer."""
    folder = source.files()
    if (folder / "generation_config.json").exists():
        ends = GenerationConfig.from_pretrained(folder).eos_token_id
    else:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=source.model.trust_remote_code)
        ends = config.get_text_config().eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return {int(end) for end in [*ends, source.tokenizer.eos_token_id] if end is not None}


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
