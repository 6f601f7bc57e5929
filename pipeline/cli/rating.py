"""`talea rate` and `talea allocate`: the money rules over JSON lines, without any server."""

import sys
from collections.abc import Callable
from time import process_time
from typing import Annotated

import typer

from pipeline.rate.commands import answer_allocate, answer_rate, explain_rate


def rate(
    explain: Annotated[bool, typer.Option("--explain", help="Answer for a person.")] = False,
    timed: Annotated[bool, typer.Option("--time", help="Tell the speed on stderr.")] = False,
) -> None:
    """Rate one JSON line after the other; a bad one is answered with its error."""
    started = process_time()
    count = _answer(explain_rate if explain else answer_rate)
    if timed and count:
        spent_s = process_time() - started
        print(f"{count} lines in {spent_s:.2f} s of CPU: {count / spent_s:,.0f}/s", file=sys.stderr)


def allocate() -> None:
    """Split one amount after the other by weights."""
    _answer(answer_allocate)


def _answer(answer: Callable[[bytes], str]) -> int:
    """Answer every non-blank line, in order; return how many there were."""
    count = 0
    for line in sys.stdin.buffer:
        if line.strip():
            print(answer(line), flush=True)
            count += 1
    return count
