"""`talea send`: CloudEvents in JSON lines, from a file or a pipe."""

import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from pipeline.agents import Recorder
from pipeline.agents.cloudevents import Report, read_lines, send_lines
from pipeline.cli.backfill import stage_file
from pipeline.cli.screen import err, out, print_json, steps
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput, Rejection
from pipeline.stores.kafka import usage_log

_ACK_WAIT_S = 300.0
_TOLD_MAX = 20


def send(
    file: Annotated[str, typer.Argument(help="A file of CloudEvents JSON lines, or - for stdin.")],
    backfill: Annotated[
        str | None,
        typer.Option(help="Stage it under this name, however old it is; nothing is billed yet."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Send usage; bad lines are refused, named, and the rest is sent."""
    stream, size = _open(file)
    if backfill is not None:
        with stream:
            report = stage_file(backfill, read_lines(stream), file, _told(), json)
        mend(report)
        return
    with stream, any_stack() as around, steps("sending") as tell:

        def progress(report: Report) -> None:
            fraction = min(1.0, report.bytes_read / size) if size else None
            tell(f"sending: {report.sent:,} events, {report.refused_count:,} refused", fraction)

        with Recorder.open(
            kafka=around.kafka,
            spool=around.settings.home / "send.spool",
            producer="send",
            partitions=around.partitions,
            topic=usage_log(around.stack),
        ) as recorder:
            report = send_lines(read_lines(stream), recorder, progress, _told())
            recorder.flush(_ACK_WAIT_S)
    if json:
        print_json(
            {
                "lines": report.lines,
                "sent": report.sent,
                "refused": [
                    {"line": line, "code": r.code.value, "path": r.path, "message": r.message}
                    for line, r in report.refused
                ],
            }
        )
    else:
        out.print(f"{report.sent:,} events sent and acknowledged, {report.refused_count:,} refused")
    mend(report)


def mend(report: Report) -> None:
    """Say how to mend what was refused.

    Raises:
        BadInput: anything was.

    """
    if report.refused_count:
        line, rejection = report.refused[0]
        raise BadInput(
            f"{report.refused_count} of {report.lines} lines refused, the first on line {line}:"
            f" {rejection.path or 'the line'}: {rejection.message}; mend and send them again"
        )


def _open(file: str) -> tuple[BinaryIO, int]:
    if file == "-":
        return sys.stdin.buffer, 0
    path = Path(file)
    try:
        return path.open("rb"), path.stat().st_size
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}: name a file of JSON lines, or -") from None


class _told:
    """Tells the first refusals as they come."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, line: int, rejection: Rejection) -> None:
        self._count += 1
        if self._count <= _TOLD_MAX:
            where = f"line {line}: {rejection.path}".rstrip(": ")
            err.print(
                f"{where}: {rejection.code}: {rejection.message}", markup=False, soft_wrap=True
            )
        elif self._count == _TOLD_MAX + 1:
            err.print("... further refusals are counted, not shown", markup=False)
