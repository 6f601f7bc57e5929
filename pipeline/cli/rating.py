"""`talea rate` and `talea allocate`: the money rules over JSON lines, without any server."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from pipeline.rate.commands import answer_allocate, answer_rate, explain_rate


def rate(
    explain: Annotated[bool, typer.Option("--explain", help="Answer for a person.")] = False,
) -> None:
    """Rate one JSON line after the other; a bad one is answered with its error."""
    _answer(explain_rate if explain else answer_rate)


def allocate() -> None:
    """Split one amount after the other by weights."""
    _answer(answer_allocate)


def _answer(answer: Callable[[bytes], str]) -> None:
    """Answer every non-blank line, in order."""
    for line in sys.stdin.buffer:
        if line.strip():
            print(answer(line), flush=True)
