"""``python -m restrl.pictures TREES.jsonl OUT``: a picture (OUT ends in .svg) or a page (.html) of trees.

TREES.jsonl is in a collect artifact, and in the run folder of ``decoder=mcts``.  To make
docs/searched_tree.svg:

    python train.py stage=collect
    python -m restrl.pictures outputs/artifacts/collect-*/trees.jsonl docs/searched_tree.svg \\
        --task factorial --most 16
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from restrl.errors import UserError
from restrl.files import write_text_atomic
from restrl.pictures.page import trees_page
from restrl.pictures.svg import tree_svg
from restrl.process import exit_code
from restrl.record_files import Records
from restrl.search.saved import SavedTree


def draw(trees: Path, out: Path, task: str, most: int) -> None:
    """Draws the trees whose task_id contains ``task``: all of them as a page, or the first as a picture.

    Raises UserError if there is none.
    """
    if out.suffix not in (".svg", ".html"):
        raise UserError(f"{out}: a picture ends in .svg, a page in .html")
    if not trees.is_file():
        raise UserError(f"{trees}: no such file")
    chosen = [tree for tree in Records(trees, SavedTree) if task in tree.task_id]
    if not chosen:
        raise UserError(f"{trees}: no tree of a task_id that contains {task!r}")
    write_text_atomic(out, tree_svg(chosen[0], most) if out.suffix == ".svg" else trees_page(chosen))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m restrl.pictures", description="Draws searched trees.")
    parser.add_argument("trees", type=Path, help="trees.jsonl of a collect artifact or of decoder=mcts")
    parser.add_argument("out", type=Path, help="NAME.svg (one tree) or NAME.html")
    parser.add_argument("--task", default="", help="a part of the task_id of the trees to draw")
    parser.add_argument("--most", type=int, default=40, help="nodes of a picture, the most visited ones")
    given = parser.parse_args(arguments)
    return exit_code(lambda: draw(given.trees, given.out, given.task, given.most))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
