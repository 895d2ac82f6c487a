"""What a run prints: the configuration as a tree, progress of each step, tables.

On a terminal progress is a moving bar; into a file it is a line now and then, so that logs stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rich.console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.tree import Tree

from restrl.progress import ProgressLines


class Console:
    def __init__(self, console: rich.console.Console | None = None) -> None:
        self.rich = console or rich.console.Console(soft_wrap=True)

    def say(self, text: str) -> None:
        """A line of plain text: nothing in it is markup."""
        self.rich.print(escape(text), highlight=False)

    def show(self, renderable: Any) -> None:
        self.rich.print(renderable)

    def tree(self, config: Mapping[str, Any], title: str) -> None:
        """The composed configuration."""
        root = Tree(f"[bold]{escape(title)}[/bold]")
        _grow(root, config)
        self.rich.print(root, highlight=False)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yields ``advance(n)``: ``n`` more of ``total`` completions are done."""
        if self.rich.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=self.rich) as bar:
                task = bar.add_task(escape(title), total=total)
                yield lambda n: bar.advance(task, n)
        else:
            yield ProgressLines(self.say, title, total).advance


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
