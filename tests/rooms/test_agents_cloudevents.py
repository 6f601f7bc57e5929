"""JSON lines into a Recorder: each line is sent, refused by number and field, or blank."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.agents import Habits, Recorder, SpoolFull
from pipeline.agents.cloudevents import (
    REFUSED_KEPT_MAX,
    Report,
    check_lines,
    read_lines,
    send_lines,
)
from pipeline.collect.limits import LINE_BYTES_MAX
from pipeline.core.errors import Code, Rejection

NOBODY = "127.0.0.1:1"


def line(number: int = 1, customer: object = "acme", **inside: object) -> bytes:
    return (
        json.dumps(
            {
                "specversion": "1.0",
                "type": "usage",
                "id": str(number),
                "source": "file",
                "time": "2026-01-31T12:00:00Z",
                "data": {"customer": customer, "meter": "calls", "value": "1", **inside},
            }
        ).encode()
        + b"\n"
    )


@pytest.fixture
def usage(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder.open(kafka=NOBODY, spool=tmp_path / "usage.spool", producer="send")
    yield recorder
    recorder._close_quietly(0)


def spooled_events(usage: Recorder) -> int:
    usage.sync()
    return usage._spool.standing().events


def test_good_lines_are_sent_bad_ones_named_blank_ones_skipped(usage: Recorder) -> None:
    told: list[tuple[int, Rejection]] = []
    lines = [line(1), b"\n", b"{\n", line(2, value="x"), b"  \r\n", line(3), line(4, customer="")]
    report = send_lines(lines, usage, on_refused=lambda *refused: told.append(refused))
    assert (report.lines, report.sent, report.refused_count) == (7, 2, 3)
    assert report.bytes_read == sum(map(len, lines))
    assert [(number, why.code, why.path) for number, why in report.refused] == [
        (3, Code.UNREADABLE, ""),
        (4, Code.BAD_VALUE, "data.value"),
        (7, Code.MISSING_FIELD, "data.customer"),
    ]
    assert told == report.refused
    assert spooled_events(usage) == 2


def test_checking_sends_nothing(usage: Recorder) -> None:
    report = check_lines([line(1), b"{}\n"])
    assert (report.sent, report.refused_count) == (1, 1)
    assert spooled_events(usage) == 0


def test_a_reversal_is_sent_as_any_line(usage: Recorder) -> None:
    report = send_lines([line(kind="reversal", reversed_at="2026-02-01T00:00:00Z")], usage)
    assert (report.sent, report.refused) == (1, [])
    assert spooled_events(usage) == 1


def test_refusals_are_all_counted_but_not_all_kept(usage: Recorder) -> None:
    count = REFUSED_KEPT_MAX + 500
    report = send_lines((b"{\n" for _ in range(count)), usage)
    assert (report.refused_count, len(report.refused)) == (count, REFUSED_KEPT_MAX)


def test_progress_is_told_every_thousand_lines_and_at_the_end(usage: Recorder) -> None:
    told: list[tuple[int, int]] = []
    send_lines(
        (line(n) for n in range(2500)),
        usage,
        on_progress=lambda report: told.append((report.lines, report.sent)),
    )
    assert told == [(1000, 1000), (2000, 2000), (2500, 2500)]


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    [first] = read_lines(io.BytesIO(b"x" * (20 << 20)))
    assert len(first) == LINE_BYTES_MAX + 2


def test_lines_behind_an_overlong_one_keep_their_numbers(usage: Recorder) -> None:
    stream = io.BytesIO(line(1) + b" " * (3 * LINE_BYTES_MAX) + b"\n" + line(2) + b"{" + b"\n{")
    report = send_lines(read_lines(stream), usage)
    assert report.sent == 2
    assert [(number, why.code) for number, why in report.refused] == [
        (2, Code.TOO_LARGE),
        (4, Code.UNREADABLE),
        (5, Code.UNREADABLE),
    ]


def test_a_line_of_exactly_the_limit_is_read_whole() -> None:
    body = line(1).rstrip(b"\n")
    exact = body + b" " * (LINE_BYTES_MAX - len(body)) + b"\r\n"
    assert list(read_lines(io.BytesIO(exact + line(2)))) == [exact, line(2)]
    assert check_lines([exact]).sent == 1


def test_a_full_spool_stops_the_file_loudly(tmp_path: Path) -> None:
    habits = Habits(batch_events=10, spool_bytes_max=5000, full_wait_s=0.05)
    usage = Recorder.open(
        kafka=NOBODY, spool=tmp_path / "usage.spool", producer="send", habits=habits
    )
    seen: list[Report] = []
    with pytest.raises(SpoolFull):
        send_lines((line(n) for n in range(10_000)), usage, on_progress=seen.append)
    usage._close_quietly(0)
