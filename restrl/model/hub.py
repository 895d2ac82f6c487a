"""``from_pretrained`` without its progress bars, and without long retries where the hub is out of reach."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import enable_progress_bars
from safetensors import SafetensorError
from transformers.utils import logging

from restrl.errors import UserError

PROBE_SECONDS = 5.0


def load_from(auto: Any, place: str, **options: Any) -> Any:
    """``auto.from_pretrained(place, **options)`` from a local folder or a hub id.

    Without a way to the hub, only what was downloaded before is tried.  Raises UserError with the first line
    of what went wrong.
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
    except (OSError, ValueError, ImportError, SafetensorError, RuntimeError) as error:
        raise UserError((str(error).strip() or type(error).__name__).splitlines()[0]) from error


def hub_commit(repo: str, revision: str | None) -> str | None:
    """The commit that ``revision`` (None: the main branch) stands for; None where nobody can tell.

    Without a way to the hub, it is the one that was downloaded before: the one that ``load_from`` takes.
    """
    if revision is not None and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    if _hub_answers():
        with contextlib.suppress(Exception):  # loading says what is wrong: no such repository, no access
            return huggingface_hub.HfApi().model_info(repo, revision=revision, timeout=PROBE_SECONDS).sha
    with contextlib.suppress(LocalEntryNotFoundError, OSError, ValueError):
        return Path(huggingface_hub.snapshot_download(repo, revision=revision, local_files_only=True)).name
    return None


def _hub_answers() -> bool:
    """One request without retries, by the session (proxies included) that the downloads use."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # the errors are those of an http library that differs by the hub's version
        return False
    return True


@contextlib.contextmanager
def quiet(hide_stderr: bool) -> Iterator[None]:
    """No bar for weights that are read from the disk or written to it; that of a download stays."""
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
