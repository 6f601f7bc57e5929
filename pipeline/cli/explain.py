"""`talea explain`: from a line to the windows it bills, and to every event in the log."""

from collections import Counter
from json import dumps
from typing import Annotated, cast

import typer

from pipeline.cli.options import AsJson
from pipeline.cli.screen import out
from pipeline.cli.stack import any_stack
from pipeline.core.identity import Json
from pipeline.invoice.lines import COMMITMENT
from pipeline.stores.kafka import KafkaLog
from pipeline.workers.explaining import Explained, events_of, explained


def explain(
    line: Annotated[str, typer.Argument(help="The id of a line, or of a child of it.")],
    json: AsJson = False,
) -> None:
    """Say what a line is made of: its windows, its stretch of log, and each event as it is read.

    With --json a line of JSON each: what it rests on, the events, how many came to what.
    """
    with any_stack() as around, around.database.session("explain") as session:
        told = explained(around, session, line)
        _say(told.json(), json, _header(told))
        counts = Counter[str]()
        for met in events_of(around, KafkaLog(around.kafka), session, told):
            counts[met.outcome] += 1
            event = met.json()
            where = f"{event['partition']}/{event['offset']}/{event['index']}"
            text = f"{where}  {event['time']}  {event['value']}  {event['outcome']}"
            _say(event, json, f"{text}  {event['key']}")
        if told.usage is not None:
            summed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
            _say({"events": dict(counts)}, json, f"events: {summed or 'none'}")


def _header(told: Explained) -> str:
    line, number = told.line, told.document.sealed.number
    text = f"{line['description']}: {line['total_minor']} minor units {line['currency']}, {number}"
    if told.usage is None:
        tops = line["category"] == COMMITMENT
        what = "it tops up what others come to" if tops else "it bills no usage"
        return f"{text}\n{what}: {line['source_id']}"
    events = sum(cast(list[int], part)[1] for part in cast(list[Json], told.usage["parts"]))
    return (
        f"{text}\n{told.usage['windows']} windows of meter {told.usage['meter']} with {events}"
        f" events; partition {told.partition}, offsets {told.start} to {told.end}"
    )


def _say(what: dict[str, Json], json: bool, text: str) -> None:
    """Write one line at once: whoever reads a pipe sees the first event as it is read."""
    print(dumps(what, ensure_ascii=False), flush=True) if json else out.print(
        text, markup=False, soft_wrap=True, highlight=False
    )
