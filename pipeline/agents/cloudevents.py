"""CloudEvents in JSON lines, from a file or a pipe into a Recorder.

Owns: lines, their numbers, what becomes of the bad ones.
Does not own: what a good line is (collect/event.py), sending (recorder.py).
Law: every line is sent, refused with its number and field, or blank; memory does not grow.

A bad line is refused before it is sent and the rest goes on: the good lines are sent. To send
all or nothing, run `check_lines` first. Lines are always keyed (a CloudEvent has id and source),
so the same file may be sent again: what was sent before counts once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from pipeline.agents.recorder import Recorder
from pipeline.collect.event import UsageEvent, parse_cloudevent
from pipeline.collect.limits import LINE_BYTES_MAX
from pipeline.core.errors import Rejection

REFUSED_KEPT_MAX = 1000
"""Refusals that a report holds; all of them are counted, and all pass `on_refused`."""
_PROGRESS_LINES = 1000


@dataclass(slots=True)
class Report:
    """What became of the lines: `lines` = `sent` + `refused_count` + blank ones.

    `refused` holds (line number from 1, why), the first REFUSED_KEPT_MAX of them.
    """

    lines: int = 0
    bytes_read: int = 0
    sent: int = 0
    refused_count: int = 0
    refused: list[tuple[int, Rejection]] = field(default_factory=list)


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a stream; one above the limit is cut behind it, so that it is refused."""
    while line := stream.readline(LINE_BYTES_MAX + 2):
        rest = line
        while not rest.endswith(b"\n") and (rest := stream.readline(LINE_BYTES_MAX)):
            pass
        yield line


def parse_line(line: bytes) -> UsageEvent | Rejection:
    """Return the event of one line, or why it is refused."""
    return parse_cloudevent(line.rstrip(b"\r\n"))


def check_lines(
    lines: Iterable[bytes],
    on_progress: Callable[[Report], None] | None = None,
    on_refused: Callable[[int, Rejection], None] | None = None,
) -> Report:
    """Read lines without sending any; `sent` counts those that would be."""
    return take_lines(lines, lambda _event: None, on_progress, on_refused)


def send_lines(
    lines: Iterable[bytes],
    recorder: Recorder,
    on_progress: Callable[[Report], None] | None = None,
    on_refused: Callable[[int, Rejection], None] | None = None,
) -> Report:
    """Record the event of each good line; call `flush` or `close` afterwards to be sure of them.

    `on_progress` is called with the report so far every 1000 lines and at the end.

    Raises:
        SpoolFull, SpoolFailed, WrongTopic, NotRecording: the rest of the lines was not taken.

    """
    return take_lines(lines, recorder.put, on_progress, on_refused)


def take_lines(
    lines: Iterable[bytes],
    take: Callable[[UsageEvent], Rejection | None],
    on_progress: Callable[[Report], None] | None,
    on_refused: Callable[[int, Rejection], None] | None,
) -> Report:
    """Give the event of each good line to `take`, which may refuse it too."""
    report = Report()
    for number, line in enumerate(lines, 1):
        report.lines = number
        report.bytes_read += len(line)
        if line.strip() or len(line) > LINE_BYTES_MAX:  # blank so far, but cut
            parsed = parse_line(line)
            refused = take(parsed) if isinstance(parsed, UsageEvent) else parsed
            if refused is None:
                report.sent += 1
            else:
                report.refused_count += 1
                if report.refused_count <= REFUSED_KEPT_MAX:
                    report.refused.append((number, refused))
                if on_refused:
                    on_refused(number, refused)
        if on_progress and number % _PROGRESS_LINES == 0:
            on_progress(report)
    if on_progress:
        on_progress(report)
    return report
