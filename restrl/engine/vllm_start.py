"""Starts vLLM: its environment, its arguments, its log."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from restrl.config import EngineConfig
from restrl.engine.base import EngineSource
from restrl.errors import UserError
from restrl.files import user_errors
from restrl.ranks import ALONE, Ranks

# vLLM reads these when it is imported or starts
os.environ.update(
    VLLM_NO_USAGE_STATS="1",  # no telemetry
    DO_NOT_TRACK="1",
    VLLM_USE_V2_MODEL_RUNNER="0",  # vllm_worker.py is written for the first one
    VLLM_WORKER_MULTIPROC_METHOD="spawn",  # a fork would inherit this process's threads and GPU
)
# trainer and engine take turns on the same cores, so neither is bound to some of them
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

LOGGING_LEVEL = "INFO"
SHARED_MEMORY = Path("/dev/shm")
SHARE = 0.01  # of a GPU's memory that has to be free at the start: kv_gb says how much is used


@contextlib.contextmanager
def output_to(path: Path | str) -> Iterator[None]:
    """Appends what this process and its children write to stdout and stderr to the file ``path``."""
    _flush()
    with open(path, "ab") as file, contextlib.ExitStack() as stack:
        for number in (1, 2):
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(file.fileno(), number)
        stack.callback(_flush)
        yield


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


with output_to(os.devnull):  # it prints what it misses on this machine
    from vllm import EngineArgs, LLMEngine
    from vllm import SamplingParams as SamplingParams
    from vllm.config.logging import LoggingConfig
    from vllm.distributed.device_communicators.cpu_communicator import _CPUSHMDistributed
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory
    from vllm.inputs.engine import tokens_input as tokens_input
    from vllm.sampling_params import RequestOutputKind as RequestOutputKind


def log_file(source: EngineSource) -> Path:
    """The engine's log in the run's folder."""
    path = source.logs / ("vllm.log" if source.ranks.first else f"vllm-rank{source.ranks.rank}.log")
    with user_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return path.absolute()


def start(source: EngineSource, config: EngineConfig, log: Path) -> Any:
    """A running LLMEngine.  Raises whatever vLLM raises; ``log`` then says more."""
    own = separate(source, config)
    environment = {"VLLM_ENABLE_V1_MULTIPROCESSING": str(int(own)), "HF_HUB_OFFLINE": "1"}
    memory: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if source.ranks.size > 1:
        ranks = source.ranks
        environment |= {"RANK": str(ranks.rank), "LOCAL_RANK": str(ranks.local)}
        memory = _own_shared_memory(ranks.agree(uuid.uuid4().hex))
    with _environment(environment), _undisturbed(), output_to(log), memory:
        engine = LLMEngine.from_engine_args(_arguments(source, config, log))
        engine.collective_rpc("restrl_prepare")
    return engine


def separate(source: EngineSource, config: EngineConfig) -> bool:
    """Whether the engine runs in processes of its own."""
    return source.ranks.size == 1 and (config.own_process or config.tensor_parallel > 1)


def team(source: EngineSource, config: EngineConfig) -> Ranks:
    """This rank among those that share an engine.  Raises UserError if the ranks cannot be divided so."""
    ranks, size = source.ranks, config.tensor_parallel
    if ranks.size == 1:
        return ALONE
    if ranks.size % size:
        raise UserError(
            f"engine.tensor_parallel={size}: {ranks.size} ranks cannot be divided into groups of {size}; use "
            f"a number that divides {ranks.size}"
        )
    if config.own_process:
        raise UserError(
            f"engine.own_process=true needs one process, and {ranks.size} ranks train: their engines run in "
            "their processes; use engine.own_process=false"
        )
    return ranks.team(size)


def alive(engine: Any) -> bool:
    """Whether the processes of an engine with its own are running."""
    return not engine.engine_core.resources.engine_dead


def close(engine: Any, ranks: Ranks) -> None:
    """Ends the engine's processes and frees its memory."""
    if ranks.size == 1:
        engine.engine_core.shutdown()
        cleanup_dist_env_and_memory()
        return
    destroy = torch.distributed.destroy_process_group
    # without a group it ends all groups, of which the run's is not the engine's
    torch.distributed.destroy_process_group = lambda group=None: group and destroy(group)
    try:
        engine.engine_core.shutdown()
    finally:
        torch.distributed.destroy_process_group = destroy


def _arguments(source: EngineSource, config: EngineConfig, log: Path) -> EngineArgs:
    folder = str(source.files())
    arguments: dict[str, Any] = {
        "model": folder,
        "tokenizer": folder,
        "trust_remote_code": source.model.trust_remote_code,
        "dtype": str(source.dtype).removeprefix("torch."),
        "seed": 0,  # every request has its own
        "max_model_len": -1,  # the model's context, or as much of it as kv_gb has room for
        "max_num_seqs": config.batch_size,
        "kv_cache_memory_bytes": int(config.kv_gb * 2**30),
        "gpu_memory_utilization": SHARE,
        "enable_prefix_caching": True,
        "enforce_eager": source.device.type == "cpu",  # compiling takes a minute, and a sync would not reach
        "enable_sleep_mode": source.device.type == "cuda",
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",  # no sampling defaults of the model
        "worker_extension_cls": "restrl.engine.vllm_worker.WorkerExtension",
        "tensor_parallel_size": config.tensor_parallel,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "logging_config": LoggingConfig(pylogging_config_file=str(_logging(log))),
    }
    if source.ranks.size > 1:
        arguments["distributed_executor_backend"] = "external_launcher"
    return EngineArgs(**arguments)


def _logging(log: Path) -> Path:
    """A file that makes vLLM's processes write to ``log``."""
    settings = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"}},
        "handlers": {
            "file": {"class": "logging.FileHandler", "filename": str(log), "formatter": "plain"},
        },
        "loggers": {"vllm": {"handlers": ["file"], "level": LOGGING_LEVEL, "propagate": False}},
    }
    path = log.with_suffix(".logging.json")
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def _own_shared_memory(run: str) -> Iterator[None]:
    """Gives the engines that start inside a shared memory of their own, which they do not leave behind.

    On a CPU, the ranks of an engine exchange tensors through files in shared memory.  With the external
    launcher vLLM gives these files the same names in every run, and refuses to start if they exist: two runs
    could not sample at once, and no run could after one that was killed.  Here the names contain ``run``, and
    are removed as soon as all ranks have opened the files, whose memory then lives as long as the ranks.
    """
    named, paths = _CPUSHMDistributed.make_group_name, set[Path]()

    def name(communicator: Any) -> str:
        group: str = run + named(communicator).replace("/", "")
        paths.update(SHARED_MEMORY / f"{group}_{rank}" for rank in range(communicator.world_size))
        return group

    _CPUSHMDistributed.make_group_name = staticmethod(name)
    try:
        yield
    finally:
        _CPUSHMDistributed.make_group_name = staticmethod(named)
        for path in paths:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Restores what a start in this process changes for the trainer: random states, torch's functions."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    set_num_threads = torch.set_num_threads
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_num_threads = set_num_threads
