"""`talea rate` and `talea allocate`: the money rules over JSON lines, without any server."""

import sys
from collections.abc import Callable
from io import BufferedReader
from time import process_time
from typing import Annotated, cast

import typer

from pipeline.rate.commands import answer_allocate, answer_rate, explain_rate

_BLOCK_BYTES = 1 << 16


def rate(
    explain: Annotated[bool, typer.Option("--explain", help="Answer for a person.")] = False,
    timed: Annotated[bool, typer.Option("--time", help="Tell the speed on stderr.")] = False,
) -> None:
    """Rate one JSON line of stdin after the other; a bad one is answered with its error.

    Like {"currency":"EUR","price":{"type":"flat","amount":"5"},"quantity":"3"}
    """
    started = process_time()
    count = _answer(explain_rate if explain else answer_rate)
    if timed and count:
        spent_s = process_time() - started
        print(f"{count} lines in {spent_s:.2f} s of CPU: {count / spent_s:,.0f}/s", file=sys.stderr)


def allocate() -> None:
    """Split the amount of one JSON line of stdin after the other by its weights.

    Like {"currency":"EUR","amount":"10","weights":["10","5"]}
    """
    _answer(answer_allocate)


def _answer(answer: Callable[[bytes], str]) -> int:
    """Answer every non-blank line, in order; return how many there were.

    What has come in is answered in one go, and whoever waits for an answer has it at once.
    """
    if sys.stdin is None:  # closed by whoever started it
        return 0
    source = cast(BufferedReader, sys.stdin.buffer)
    count, begun, more = 0, list[bytes](), True
    while more:
        block = source.read1(_BLOCK_BYTES)
        more = bool(block)
        begun.append(block)
        if more and b"\n" not in block:
            continue
        lines = b"".join(begun).split(b"\n")
        begun = [lines.pop()] if more else []
        answers = [answer(line) for line in lines if line.strip()]
        if answers:
            print("\n".join(answers), flush=True)
            count += len(answers)
    return count
