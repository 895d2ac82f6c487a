"""``from_pretrained`` without progress bars, and without long retries if the hub is out of reach."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, StrictDataclassError
from huggingface_hub.utils.tqdm import enable_progress_bars
from safetensors import SafetensorError
from transformers.utils import logging

from restrl.errors import UserError

PROBE_SECONDS = 5.0
FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]


def load_from(auto: Any, place: str, **options: Any) -> Any:
    """``auto.from_pretrained(place, **options)`` from a local folder or a hub id.

    If the hub is out of reach, only earlier downloads are tried.  Raises UserError with the first line of the
    error.
    """
    local = Path(place).is_dir()
    try:
        if not local and not _hub_answers():
            revision = options.pop("revision", None)
            place = huggingface_hub.snapshot_download(place, revision=revision, local_files_only=True)
        with quiet(hide_stderr=local):
            return auto.from_pretrained(place, **options)
    except LocalEntryNotFoundError as error:
        raise UserError(f"{constants.ENDPOINT} is out of reach, and nothing was downloaded before") from error
    except StrictDataclassError as error:  # its first line says which check failed, the second one why
        raise UserError(" ".join(str(error).split())) from error
    except (OSError, ValueError, ImportError, SafetensorError, RuntimeError) as error:
        raise UserError((str(error).strip() or type(error).__name__).splitlines()[0]) from error


def downloaded(repo: str, revision: str | None) -> Path:
    """The folder of the repository's files, which are downloaded if the hub answers.  Raises UserError."""
    try:
        folder = huggingface_hub.snapshot_download(
            repo, revision=revision, local_files_only=not _hub_answers(), allow_patterns=FILES
        )
    except (OSError, ValueError) as error:
        raise UserError(f"cannot download {repo}: {str(error).splitlines()[0]}") from error
    return Path(folder)


def hub_commit(repo: str, revision: str | None) -> str | None:
    """The commit of ``revision`` (None: the main branch); None if it cannot be determined.

    If the hub is out of reach, it is the commit of the earlier download, which ``load_from`` uses too.
    """
    if revision is not None and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    if _hub_answers():
        with contextlib.suppress(Exception):  # loading will report the error: no such repository, no access
            return huggingface_hub.HfApi().model_info(repo, revision=revision, timeout=PROBE_SECONDS).sha
    with contextlib.suppress(LocalEntryNotFoundError, OSError, ValueError):
        return Path(huggingface_hub.snapshot_download(repo, revision=revision, local_files_only=True)).name
    return None


def _hub_answers() -> bool:
    """Whether one request succeeds, without retries, in the session (with proxies) that downloads use."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # the type depends on the http library of the installed huggingface_hub
        return False
    return True


@contextlib.contextmanager
def quiet(hide_stderr: bool) -> Iterator[None]:
    """Hides progress bars of reading and writing weights; those of downloads stay."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    enable_progress_bars()
    hidden = contextlib.redirect_stderr(io.StringIO()) if hide_stderr else contextlib.nullcontext()
    try:
        with hidden:
            yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
