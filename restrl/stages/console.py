"""The output of a run: the configuration as a tree, progress of each step, tables.

Only the first rank prints.  Progress is a moving bar on a terminal.  In a file it is an occasional line, so
that logs stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rich.console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.tree import Tree

from restrl.progress import ProgressLines
from restrl.ranks import ALONE, Ranks


class StepProgress:
    """Counts completions of a step, up to ``total`` over all ranks.

    A call passes the count of this rank, which is multiplied by the number of ranks, because ranks do equal
    shares.  The estimate may be off by a few within a chunk, and never exceeds ``total``.
    """

    def __init__(self, show: Callable[[int], object], total: int, ranks: Ranks) -> None:
        self._show, self._remaining, self._ranks = show, total, ranks

    def __call__(self, n: int) -> None:
        self.of_all(n * self._ranks.size)

    def of_all(self, n: int) -> None:
        """Counts ``n`` over all ranks, such as completions of an earlier, interrupted run."""
        n = min(n, self._remaining) if self._ranks.size > 1 else n
        self._remaining -= n
        if n:
            self._show(n)


class Console:
    def __init__(self, console: rich.console.Console | None = None, ranks: Ranks = ALONE) -> None:
        self.ranks = ranks
        self.rich = console or rich.console.Console(soft_wrap=True, quiet=not ranks.first)

    def say(self, text: str) -> None:
        """Prints a line of plain text; markup in it is not interpreted."""
        self.rich.print(escape(text), highlight=False)

    def show(self, renderable: Any) -> None:
        self.rich.print(renderable)

    def tree(self, config: Mapping[str, Any], title: str) -> None:
        """Prints the composed configuration."""
        root = Tree(f"[bold]{escape(title)}[/bold]")
        _grow(root, config)
        self.rich.print(root, highlight=False)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[StepProgress]:
        """Yields ``advance(n)``, which says that this rank did ``n`` more of ``total`` completions."""
        if self.rich.is_terminal and self.ranks.first:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Bar(*columns, console=self.rich) as bar:
                task = bar.add_task(escape(title), total=total)
                yield StepProgress(lambda n: bar.advance(task, n), total, self.ranks)
        else:
            yield StepProgress(ProgressLines(self.say, title, total).advance, total, self.ranks)


def _grow(branch: Tree, node: Mapping[str, Any]) -> None:
    for key, value in node.items():
        if isinstance(value, Mapping):
            _grow(branch.add(f"[cyan]{escape(key)}[/cyan]"), value)
        elif isinstance(value, list) and any(isinstance(element, Mapping) for element in value):
            elements = branch.add(f"[cyan]{escape(key)}[/cyan]")
            for element in value:
                elements.add(escape(", ".join(f"{name}: {setting}" for name, setting in element.items())))
        else:
            branch.add(f"{escape(key)}: {escape(str(value))}")
