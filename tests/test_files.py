import errno
import os

import pytest

from restrl.errors import UserError
from restrl.files import atomic_folder, write_json_atomic, write_text_atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_json_is_written_as_a_whole(tmp_path):
    write_json_atomic(tmp_path / "new" / "a.json", {"x": 1})
    assert (tmp_path / "new" / "a.json").read_text() == '{\n  "x": 1\n}\n'
    assert names(tmp_path / "new") == ["a.json"]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text_atomic(path, "before")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(
        UserError, match=r"cannot write .*a\.txt: No space left on device; make room there or set paths"
    ):
        write_text_atomic(path, "after")
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_a_device_without_space_is_a_user_error(tmp_path):
    (tmp_path / f".a.txt.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write .*a\.txt: No space left on device"):
        write_text_atomic(tmp_path / "a.txt", "text")
    assert not (tmp_path / "a.txt").exists()


def test_a_folder_appears_when_it_is_whole(tmp_path):
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("1")
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "model" / "weights").read_text() == "1"
    with atomic_folder(tmp_path / "model") as folder:  # replaces
        (folder / "other").write_text("2")
    assert names(tmp_path / "model") == ["other"]
    assert names(tmp_path) == ["model"]


def test_a_folder_that_failed_leaves_what_was_there(tmp_path):
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("1")
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "model") as folder:
        raise KeyboardInterrupt
    with (
        pytest.raises(UserError, match=r"cannot write .*model: No space left on device"),
        atomic_folder(tmp_path / "model"),
    ):
        full_disk()
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "1"


def test_what_a_kill_left_half_is_not_taken_over(tmp_path):
    (tmp_path / ".model.tmp").mkdir()
    (tmp_path / ".model.tmp" / "half").write_text("")
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("1")
    assert names(tmp_path / "model") == ["weights"]
