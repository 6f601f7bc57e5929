"""What people see: progress on stderr, results on stdout, one JSON document where asked."""

import json as json_text
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipeline.core.money import Money

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(document: object) -> None:
    """Print the one JSON document of a command."""
    print(json_text.dumps(document, ensure_ascii=False, indent=2))


def print_done(document: object, text: str, *, json: bool) -> None:
    """Print what was done: one JSON document, or a line for a person."""
    if json:
        print_json(document)
    else:
        out.print(text, markup=False, soft_wrap=True)


def amounts_text(by_currency: Mapping[str, int]) -> str:
    """Return amounts in minor units as they are read, by currency."""
    told = (f"{Money(minor, currency).text} {currency}" for currency, minor in by_currency.items())
    return ", ".join(told)


@contextmanager
def steps(title: str) -> Iterator[Callable[[str, float | None], None]]:
    """Show what is going on: a bar on a terminal, a line a step elsewhere.

    Yields `tell(text, fraction or None)`; it may be called from several threads.
    """
    if not err.is_terminal:
        said: set[str] = set()

        def tell_line(text: str, fraction: float | None) -> None:
            if fraction in (None, 1.0) and text not in said:
                said.add(text)
                err.print(text if text.startswith(title) else f"{title}: {text}", soft_wrap=True)

        yield tell_line
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    ) as progress:
        task = progress.add_task(title, total=None)

        def tell(text: str, fraction: float | None) -> None:
            total = None if fraction is None else 1.0
            progress.update(task, description=text, completed=fraction or 0.0, total=total)

        yield tell


@contextmanager
def counted(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show how much of a known amount is done; yields `tell(done, of)`."""
    with steps(title) as tell:
        yield lambda done, of: tell(f"{title}: {done:,} of {of:,}", done / of if of else 1.0)
