"""What hostile programs leave is removed, whatever it is."""

import os
import threading
import time

import pytest

from restrl.sandbox.inside.confine import folder

DEEP = 3000  # deeper than Python recurses, and a path longer than the system takes


def deep(top, mode=0o755):
    here = os.open(top, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("a", 0o755, dir_fd=here)
        open(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here), "w").close()
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.fchmod(here, mode)
    os.close(here)


KINDS = {
    "nothing": lambda _top: None,
    "a file": lambda top: (top / "a").write_text("x"),
    "a full folder": lambda top: [(top / "b").mkdir(), *((top / "b" / str(i)).touch() for i in range(50))],
    "folders without rights": lambda top: [
        (top / "b").mkdir(),
        (top / "b" / "c").mkdir(0),
        (top / "b").chmod(0),
    ],
    "many names alike": lambda top: [(top / f"{i}" / f"{i}" / "0").mkdir(parents=True) for i in range(20)],
    "a folder deep down": deep,
    "one without rights": lambda top: deep(top, 0),
    "links": lambda top: [(top / "l").symlink_to(top.parent), (top / "m").symlink_to("m")],
    "names that are no text": lambda top: os.mkdir(os.fsencode(top) + b"/\xff"),
    "a pipe": lambda top: os.mkfifo(top / "p"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_is_removed_and_nothing_else(tmp_path, kind):
    top = tmp_path / "top"
    top.mkdir()
    (tmp_path / "other").write_text("stays")
    KINDS[kind](top)
    open_before = len(os.listdir("/proc/self/fd"))
    folder.empty(str(top))
    assert os.listdir(top) == []
    assert os.listdir(tmp_path) == ["other", "top"] or os.listdir(tmp_path) == ["top", "other"]
    KINDS[kind](top)
    folder.remove(str(top))
    assert os.listdir(tmp_path) == ["other"]
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_one_that_is_still_written_to_is_removed_in_the_end(tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    end = time.monotonic() + 0.2

    def write():
        i = 0
        while time.monotonic() < end:
            try:
                (top / str(i := i + 1)).touch()
            except FileNotFoundError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    folder.remove(str(top))
    writer.join()
    assert not top.exists()


def test_one_that_is_gone_is_no_error(tmp_path):
    folder.remove(str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError):
        folder.empty(str(tmp_path / "gone"))


def test_folders_without_rights_are_removed_by_their_owner(tmp_path):
    """By one who has no more rights than an owner has: root would not notice."""
    if (pid := os.fork()) == 0:
        os.chdir(tmp_path)
        if os.getuid() == 0:
            os.chown(".", 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        os.makedirs("a/b")
        open("a/b/f", "w").close()
        os.chmod("a/b", 0)
        os.chmod("a", 0)
        folder.empty(".")
        os._exit(0 if os.listdir(".") == [] else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert os.listdir(tmp_path) == []
