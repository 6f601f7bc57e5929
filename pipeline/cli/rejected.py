"""`talea rejected`: what was not billed and why, and what a person decides about it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.console import JustifyMethod
from rich.table import Table

from pipeline.cli.options import Actor, AsJson, span_of
from pipeline.cli.screen import counted, out, print_json
from pipeline.cli.stack import any_stack
from pipeline.collect.keyed import KeyedEvent
from pipeline.collect.letters import DeadLetter
from pipeline.core.calendar import instant_text
from pipeline.core.errors import BadInput, Code
from pipeline.core.identity import Json
from pipeline.core.quantity import decimal_text
from pipeline.replay.letters import ADVICE, LetterId, RejectedEvent, Selection, State, parse_id
from pipeline.stores.postgres.facts import Author
from pipeline.workers.conflicts import first_delivery
from pipeline.workers.redriving import Listed, Redriven, listed, redrive, select, waive
from pipeline.workers.surroundings import Surroundings

app = typer.Typer(help="What was not billed: list, show, redrive, waive.", no_args_is_help=True)

_ROWS = 50
_TOLD_MAX = 20
_CHARS = 1000
"""Of one field, on a screen."""

Ids = Annotated[list[str] | None, typer.Argument(help="Ids as `list` prints them.")]
Reason = Annotated[str | None, typer.Option(help="Only with this reason code.")]
Customer = Annotated[str | None, typer.Option(help="Only this customer's.")]
From = Annotated[str | None, typer.Option("--from", help="Only with event time from here on.")]
To = Annotated[str | None, typer.Option("--to", help="Only with event time before this.")]
Everything = Annotated[bool, typer.Option("--all", help="Every open one.")]


def selection(
    ids: Sequence[str], reason: str | None, customer: str | None, start: str | None, end: str | None
) -> Selection:
    """Return what the options select.

    Raises:
        BadInput: an id, code or time is none.

    """
    named = set()
    for text in ids:
        if (each := parse_id(text)) is None:
            raise BadInput(f"{text!r} is no id of a rejected event: `talea rejected list` has them")
        named.add(each)
    if reason is not None and reason not in set(Code):
        raise BadInput(f"no reason is called {reason!r}: one of {', '.join(Code)}")
    return Selection(
        frozenset(named),
        Code(reason) if reason else None,
        customer,
        *span_of(start, end),
    )


def _chosen(
    ids: list[str] | None,
    reason: str | None,
    customer: str | None,
    start: str | None,
    end: str | None,
    everything: bool,
) -> Selection:
    """Return what is to be acted on: never everything by leaving all options out."""
    found = selection(ids or (), reason, customer, start, end)
    if everything != (found == Selection()):
        raise BadInput("name ids, or --reason, --customer, --from, --to; or else say --all")
    return found


def row(one: Listed) -> dict[str, Json]:
    """Return one rejected event in a line of a list."""
    rejected, event = one.rejected, one.rejected.event
    return {
        "id": str(rejected.id),
        "reason": rejected.rejection.code.value,
        "path": rejected.rejection.path,
        "message": rejected.rejection.message,
        "events": rejected.event_count,
        "customer": rejected.customer,
        "meter": event.meter if event else "",
        "time": instant_text(event.time) if event else "",
        "value": decimal_text(event.mantissa, event.scale) if event else "",
        "state": one.state.value,
    }


@app.command("list")
def list_rejected(
    reason: Reason = None,
    customer: Customer = None,
    start: From = None,
    end: To = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows to show; all are counted.")] = _ROWS,
    json: AsJson = False,
) -> None:
    """List rejected usage, counted by reason and by what became of it."""
    wanted = selection((), reason, customer, start, end)
    with (
        any_stack() as around,
        around.database.session("rejected") as connection,
        counted("reading dead letters") as tell,
    ):
        by_reason, by_state = Counter[str](), Counter[str]()
        rows, found = list[dict[str, Json]](), 0
        for each in listed(around, connection.read_facts(0), wanted, tell):
            found += 1
            by_reason[each.rejected.rejection.code.value] += each.rejected.event_count
            by_state[each.state.value] += each.rejected.event_count
            if len(rows) < limit:
                rows.append(row(each))
    if json:
        print_json(
            {
                "events": by_reason.total(),
                "by_reason": dict(by_reason),
                "by_state": dict(by_state),
                "rejected": rows,
            }
        )
        return
    if rows:
        out.print(rejected_table(rows))
    told = ", ".join(f"{count:,} {name}" for name, count in by_reason.most_common())
    states = ", ".join(f"{count:,} {name}" for name, count in by_state.most_common())
    shown = f" ({limit:,} of {found:,} rows shown)" if found > limit else ""
    out.print(f"{told}: {states}{shown}" if found else "nothing was rejected", soft_wrap=True)


def rejected_table(rows: Sequence[Mapping[str, Json]]) -> Table:
    """Return rows of a list as a table for a person."""
    table = Table(box=None, pad_edge=False)
    for name in ("id", "reason", "customer", "meter", "time", "value", "state"):
        # Ids are copied from here: on a narrow screen the rest gives way, over lines.
        justify: JustifyMethod = "right" if name == "value" else "left"
        gives_way = name in ("customer", "meter", "time")
        table.add_column(name, no_wrap=not gives_way, overflow="fold", justify=justify)
    for each in rows:
        table.add_row(*(str(each[str(column.header)]) for column in table.columns))
    return table


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it.")],
    json: AsJson = False,
) -> None:
    """Show one rejected event or message: reason, place, content, bytes, what to do."""
    wanted = selection([name], None, None, None, None)
    with (
        any_stack() as around,
        around.database.session("rejected") as connection,
        counted("reading dead letters") as tell,
    ):
        found = select(around, connection.read_facts(0), wanted, tell)
        events = [_whole(each) | _first(around, each.rejected) for each in found]
    letter = found[0].letter
    document: dict[str, Json] = {**_letter(letter), "events": [*events]}
    if json:
        print_json(document)
        return
    for each in events[:_TOLD_MAX]:
        _print_fields(each)
        out.print()
    if len(found) > _TOLD_MAX:
        out.print(f"... and {len(found) - _TOLD_MAX:,} more events (--json shows all)\n")
    _print_fields(_letter(letter))


def _print_fields(fields: Mapping[str, Json]) -> None:
    for name, value in fields.items():
        text = str(value)
        cut = text if len(text) <= _CHARS else f"{text[:_CHARS]}... (--json shows all)"
        out.print(f"{name:<12} {cut}", markup=False, soft_wrap=True)


def _whole(one: Listed) -> dict[str, Json]:
    event = one.rejected.event
    found = {**row(one), "what_to_do": ADVICE[one.rejected.rejection.code]}
    if event is not None:
        found |= _payload(event)
        found["sequence_of"] = list(event.epoch) if event.epoch else None
    return found


def _payload(event: KeyedEvent) -> dict[str, Json]:
    return {
        "dimensions": dict(event.dimensions),
        "key": event.key.hex(),
        "fingerprint": event.fingerprint.hex(),
    }


def _first(around: Surroundings, rejected: RejectedEvent) -> dict[str, Json]:
    """Return the event that a conflict's key was first used for; nothing of any other."""
    found = first_delivery(around, rejected)
    if found is None:
        return {}
    where, event = found
    if event is None:
        return {"first": {"id": str(where), "gone": True}}
    value = decimal_text(event.mantissa, event.scale)
    return {
        "first": {
            "id": str(where),
            "customer": event.customer,
            "meter": event.meter,
            "time": instant_text(event.time),
            "value": value,
            **_payload(event),
        }
    }


def _letter(letter: DeadLetter) -> dict[str, Json]:
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "log_time": instant_text(letter.log_time) if letter.log_time else None,
        "headers": [[name, (value or b"").hex()] for name, value in letter.headers],
        "bytes": len(letter.message),
        "hex": letter.message.hex(),
        "text": letter.message.decode() if _is_text(letter.message) else None,
    }


def _is_text(message: bytes) -> bool:
    try:
        return message.decode().isprintable()
    except UnicodeDecodeError:
        return False


@app.command("redrive")
def redrive_rejected(
    actor: Actor,
    ids: Ids = None,
    reason: Reason = None,
    customer: Customer = None,
    start: From = None,
    end: To = None,
    everything: Everything = False,
    message: Annotated[str, typer.Option(help="Why.")] = "the cause is mended",
    waived_too: Annotated[bool, typer.Option("--waived-too", help="Waived ones as well.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Redriven ones as well.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say only what would be.")] = False,
    json: AsJson = False,
) -> None:
    """Send rejected events again under their own keys: each counts once, however often."""
    chosen = _chosen(ids, reason, customer, start, end, everything)
    states = {State.OPEN}
    states |= {State.WAIVED} if waived_too else set()
    states |= {State.REDRIVEN} if again else set()
    with any_stack() as around, counted("reading the log") as tell:
        done = redrive(around, chosen, Author(actor, message), tell, states=states, dry_run=dry_run)
    if json:
        print_json(redriven_json(done, dry_run))
    else:
        _tell_redriven(done, dry_run)
    if ids and done.refused:
        first, why = done.refused[0]
        raise BadInput(f"{len(done.refused)} refused, the first {first}: {why}")


def redriven_json(done: Redriven, dry_run: bool) -> dict[str, Json]:
    """Return what a redrive did as one document."""
    return {
        "dry_run": dry_run,
        "sent": _texts(done.sent),
        "already_in_the_log": _texts(done.standing),
        "refused": [{"id": str(each), "why": why} for each, why in done.refused],
        "skipped": {state.value: count for state, count in done.skipped.items()},
        "gate_passes": list(done.gate_passes),
    }


def _texts(ids: Sequence[LetterId]) -> list[Json]:
    return [str(each) for each in ids]


def _tell_redriven(done: Redriven, dry_run: bool) -> None:
    for each, why in done.refused[:_TOLD_MAX]:
        out.print(f"{each}: refused: {why}", markup=False, soft_wrap=True)
    if len(done.refused) > _TOLD_MAX:
        out.print(f"... and {len(done.refused) - _TOLD_MAX:,} more refused")
    verb = "would be sent" if dry_run else "sent again"
    told = [f"{len(done.sent):,} {verb}", f"{len(done.standing):,} in the log already"]
    told.append(f"{len(done.refused):,} refused")
    told += [f"{count:,} {state} before" for state, count in done.skipped.items()]
    out.print(", ".join(told))


@app.command("waive")
def waive_rejected(
    actor: Actor,
    message: Annotated[str, typer.Option(help="Why they are not billed.")],
    ids: Ids = None,
    reason: Reason = None,
    customer: Customer = None,
    start: From = None,
    end: To = None,
    everything: Everything = False,
    json: AsJson = False,
) -> None:
    """Decide that rejected events will not be billed."""
    chosen = _chosen(ids, reason, customer, start, end, everything)
    with any_stack() as around, counted("reading dead letters") as tell:
        waived, skipped = waive(around, chosen, Author(actor, message), tell)
    if json:
        before = {state.value: count for state, count in skipped.items()}
        print_json({"waived": _texts(waived), "skipped": before})
        return
    told = [f"{len(waived):,} waived"]
    told += [f"{count:,} {state} before" for state, count in skipped.items()]
    out.print(", ".join(told))
