"""GGUF files of users, whole or in parts: checked, converted once into the cache folder, found by content.

transformers reads the weights, dequantized to float32, and the tokenizer.  Everything that it could not read
is found in the files' headers, before a weight is read.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gguf import (
    GGML_QUANT_SIZES,
    GGMLQuantizationType,
    GGUFReader,
    GGUFValueType,
    GGUFWriter,
    Keys,
    dequantize,
)
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

from restrl.config import PathsConfig
from restrl.errors import UserError
from restrl.files import check_room
from restrl.model.content import file_hash
from restrl.model.hub import load_from
from restrl.model.weights import cache_folder, convert_once

PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")  # as llama.cpp names the parts of a model
FLOAT32 = 4  # bytes
# Names of ways to split text into words before the merges of a byte-level tokenizer: GPT-2's (some put digits
# apart, which their merges never join), with which transformers replaces any that it does not know.
GPT2_SPLITS = (
    "gpt-2", "phi-2", "olmo", "mpt", "mellum", "smollm", "starcoder", "refact", "command-r", "codeshell",
    "exaone",
)  # fmt: skip
UNQUANTIZED = (GGMLQuantizationType.F32, GGMLQuantizationType.F16)
_log = logging.getLogger(__name__)

try:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS as SPLITS
except ImportError:  # an older release, which knows none
    SPLITS = {}


def is_gguf(path: str | None) -> bool:
    """Whether a path names a GGUF file, rather than a folder or a model on the hub."""
    return path is not None and path.endswith(".gguf") and not Path(path).expanduser().is_dir()


def gguf_fingerprint(path: str, paths: PathsConfig) -> str:
    """Identifies the content of the file, or of all parts.  Raises UserError for a missing file."""
    digest = hashlib.sha256()
    for part in gguf_parts(path):
        try:
            digest.update(file_hash(part, cache_folder(paths)).encode())
        except OSError as error:
            raise UserError(f"cannot read {part}: {error.strerror or error}") from error
    return f"gguf-{digest.hexdigest()[:16]}"


def converted_file(path: str, paths: PathsConfig) -> Path:
    """The folder in Hugging Face layout of the model in a GGUF file; only the first call converts it.

    Raises UserError for a file that is missing, damaged or not supported, and for a disk without room.
    """
    folder = cache_folder(paths) / gguf_fingerprint(path, paths)
    if not folder.exists():
        parts = gguf_parts(path)
        readers = [_reader(part) for part in parts]
        _check_parts(parts, readers)
        _check_supported(parts[0], readers)
        _check_tokenizer(parts[0], readers[0])
        size = sum(part.stat().st_size for part in parts)
        needed = FLOAT32 * sum(int(tensor.n_elements) for reader in readers for tensor in reader.tensors)
        needed += size if len(parts) > 1 else 0  # the merged file
        check_room(folder, needed, f"{path}, converted to float32,", "paths.cache")
        _log.info("converting %s (%.3g GB) into %s (%.3g GB)", path, size / 1e9, folder, needed / 1e9)
        convert_once(folder, lambda temporary: _whole(parts, readers, temporary), "is the file whole?")
    return folder


def gguf_parts(path: str) -> list[Path]:
    """The file itself, or all parts of the model that it belongs to.  Raises UserError if one is missing."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"model.path={path}: no such file")
    if (name := PART.fullmatch(file.name)) is None:
        return [file]
    count = int(name[3])
    parts = [file.with_name(f"{name[1]}-{k:05}-of-{count:05}.gguf") for k in range(1, count + 1)]
    if missing := [part.name for part in parts if not part.is_file()]:
        raise UserError(f"model.path={path}: {missing[0]} is missing; all {count} parts must lie together")
    return parts or [file]


def _reader(path: Path) -> GGUFReader:
    try:
        return GGUFReader(path)
    except (OSError, ValueError, LookupError, NotImplementedError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read {path}: it is no GGUF file, or not a whole one ({why})") from error


def _value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _check_parts(parts: Sequence[Path], readers: Sequence[GGUFReader]) -> None:
    """Raises UserError for parts that are not those of one model, in their order."""
    for k, (part, reader) in enumerate(zip(parts, readers, strict=True)):
        count, number = (
            _value(reader, key) for key in (Keys.Split.LLM_KV_SPLIT_COUNT, Keys.Split.LLM_KV_SPLIT_NO)
        )
        if (count or 1) != len(parts) or (number or 0) != k:
            raise UserError(
                f"{part} says that it is part {(number or 0) + 1} of {count or 1}, and its name says "
                f"{k + 1} of {len(parts)}; name the parts NAME-00001-of-{count or 1:05}.gguf and so on"
            )
    tensors = sum(len(reader.tensors) for reader in readers)
    expected = _value(readers[0], Keys.Split.LLM_KV_SPLIT_TENSORS_COUNT)
    if expected is not None and tensors != expected:
        raise UserError(f"{parts[0]}: its parts have {tensors} tensors together, and it says {expected}")


def _check_supported(file: Path, readers: Sequence[GGUFReader]) -> None:
    """Raises UserError for an architecture or quantization that transformers does not read."""
    kind = _value(readers[0], Keys.General.TYPE) or "model"
    if kind != "model":
        raise UserError(f"{file} holds no model but a model's {kind}")
    try:
        config = load_from(AutoConfig, str(file.parent), gguf_file=file.name)
    except UserError as error:
        raise UserError(f"cannot convert {file}: {error}") from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"cannot convert {file}: {config.model_type} is no causal language model")
    for kind in {tensor.tensor_type for reader in readers for tensor in reader.tensors}:
        if kind in UNQUANTIZED:
            continue
        try:
            dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
        except (NotImplementedError, ValueError, AttributeError) as error:
            raise UserError(
                f"cannot convert {file}: its quantization {kind.name} is not supported"
            ) from error


def _check_tokenizer(file: Path, reader: GGUFReader) -> None:
    """Raises UserError for a tokenizer that transformers would read, but with another split of the text."""
    split = _value(reader, Keys.Tokenizer.PRE)
    known = split in SPLITS or split in GPT2_SPLITS
    if _value(reader, Keys.Tokenizer.MODEL) == "gpt2" and not known:
        raise UserError(
            f"cannot convert {file}: its tokenizer splits text in a way that is not supported ({split}); "
            "use the model's folder in Hugging Face layout"
        )


def _whole(parts: Sequence[Path], readers: Sequence[GGUFReader], folder: Path) -> Path:
    """The file, or one in ``folder`` with the tensors of all parts and the metadata of the first."""
    if len(parts) == 1:
        return parts[0]
    whole, first = folder / "merged.gguf", readers[0]
    writer = GGUFWriter(whole, _value(first, Keys.General.ARCHITECTURE), endianess=first.endianess)
    for field in first.fields.values():
        if field.name != Keys.General.ARCHITECTURE and not field.name.startswith(("GGUF.", "split.")):
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    for tensor in tensors:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.data, tensor_endianess=first.endianess)
    writer.close()
    return whole
