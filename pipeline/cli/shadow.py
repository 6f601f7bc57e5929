"""`talea shadow`: a candidate catalog rates beside the live one, is promoted, is taken back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated

import typer
from rich.table import Table

from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.cli.catalog import apply_sheet, changed_by, read_sheet, refused
from pipeline.cli.deciding import moment
from pipeline.cli.options import Actor, AsJson, Reason, number_of
from pipeline.cli.screen import err, out, print_done, print_json
from pipeline.cli.stack import any_stack
from pipeline.cli.work import give_way
from pipeline.core.calendar import instant_text
from pipeline.core.errors import BadInput, CheckFailed, ServerFailed
from pipeline.core.identity import Json
from pipeline.core.money import Money
from pipeline.replay.diff import Diff
from pipeline.replay.guarding import Limits, summed
from pipeline.replay.revising import priced_by
from pipeline.replay.what_if import SHOCKS, Change
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.session import Session
from pipeline.stores.postgres.shadow_prices import (
    Candidate,
    ask_follower,
    begin_candidate,
    changes_beside,
    documents_priced,
    drop_candidate,
    follow_candidate,
    is_followed,
    note_promoted,
    read_candidates,
)
from pipeline.workers.applying import apply_looked
from pipeline.workers.beside import Beside, catch_up, find_candidate, follow
from pipeline.workers.promoting import affected, dated, period_edge, promotion_json, take_back
from pipeline.workers.surroundings import Surroundings

app = typer.Typer(help="Rate by other prices beside the live ones.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What the candidate is called.")]
_STOPS_S = 30.0
_LOOKS_S = 10.0
_POLL_S = 0.2
_TELL_S = 5.0


@app.command("start")
def start(
    name: Name,
    catalog: Annotated[Path | None, typer.Option(help="The candidate; none: go on.")] = None,
    share_max: Annotated[
        str | None, typer.Option(help="At most so many percent of the customers may pay more.")
    ] = None,
    more_than: Annotated[str, typer.Option(help="More by over so many percent, that is.")] = "0",
    total_max: Annotated[
        str | None, typer.Option(help="All of a currency may differ by so many percent.")
    ] = None,
    alert: Annotated[
        bool, typer.Option("--alert", help="Where a limit breaks, tell and go on.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Rate what is there, and leave.")] = False,
    json: AsJson = False,
) -> None:
    """Rate each draft by another catalog too, as soon as it is rated, until stopped or a limit."""
    share, total = (
        None if text is None else number_of(option, text)
        for option, text in (("--share-max", share_max), ("--total-max", total_max))
    )
    limits = Limits(number_of("--more-than", more_than), share, total)
    with any_stack() as around:
        if catalog is not None:
            _begin(around, name, catalog, limits)
        with _rating(around, name) as (session, candidate):
            if once:
                beside = Beside(session, candidate)
                catch_up(beside)
                _, found = beside.look()
            else:
                found = follow(session, candidate, _Telling(name, stops=not alert))
            _tell(session, candidate, found, json=json, followed=False)
    if found:
        raise CheckFailed(f"shadow prices {name}: {found[0]}")


def _begin(around: Surroundings, name: str, path: Path, limits: Limits) -> None:
    """Keep a new candidate.

    Raises:
        BadInput: it is no catalog, or changes more than prices, or there is one of that name.

    """
    sheet = read_sheet(path)
    with around.database.session("shadow prices") as session:
        facts = session.read_facts(0)
        found = changed_by(session, facts, sheet, str(path))
        try:
            priced_by(facts, found.facts)
        except ValueError as error:
            raise BadInput(f"{path}: {error}") from None
        revisions: list[Mapping[str, Json]] = [
            {"kind": new.kind.value, "subject": new.subject, "body": dict(new.body)}
            for new in found.facts
        ]
        text, now = path.read_text("utf-8"), session.clock()()
        if not begin_candidate(
            session, Candidate(name, text, revisions, limits, now, facts[-1].serial)
        ):
            raise BadInput(f"there are shadow prices {name} already: `talea shadow drop {name}`")


class _Telling:
    """Says every few seconds what customers come to; stops where a limit is broken."""

    def __init__(self, name: str, *, stops: bool) -> None:
        self._name, self._stops, self._told_at = name, stops, 0.0
        self._broken: Sequence[str] = ()

    def __call__(self, customers: Iterable[Change], broken: Sequence[str]) -> bool:
        """Tell; return whether that is enough."""
        if [*broken] != [*self._broken]:
            for line in broken:
                err.print(f"talea: {self._name}: {line}", markup=False, soft_wrap=True)
            self._broken = broken
        if monotonic() - self._told_at > _TELL_S:
            self._told_at = monotonic()
            for each in summed(customers):
                told = f"{self._name}: {_change(each)} {each.currency}"
                err.print(told, markup=False, soft_wrap=True)
        return bool(broken) and self._stops


@contextmanager
def _rating(around: Surroundings, name: str) -> Iterator[tuple[Session, Candidate]]:
    """Have a candidate to oneself, out of the way of what is live.

    Raises:
        BadInput: there is none of that name, or somebody follows it.

    """
    give_way()
    with around.database.session("shadow prices") as session:
        candidate, deadline = find_candidate(session, name), monotonic() + _LOOKS_S
        while not follow_candidate(session, name):  # whoever only looks leaves soon
            if monotonic() > deadline:
                told = f"somebody follows {name} already"
                raise BadInput(f"{told}: `talea shadow stop {name}` stops it")
            sleep(_POLL_S)
        ask_follower(session, name, stop=False)
        yield session, candidate


@app.command("status")
def status(name: Name, json: AsJson = False) -> None:
    """Tell what customers come to by it, beside what they do; brought up to date first."""
    with any_stack() as around, around.database.session("shadow prices") as session:
        candidate, followed = find_candidate(session, name), is_followed(session, name)
        found = _looked_at(session, candidate)
        _tell(session, candidate, found, json=json, followed=followed)


def _looked_at(session: Session, candidate: Candidate) -> Sequence[str]:
    """Bring it up to date, where no follower does; return the limits that are broken."""
    beside = Beside(session, candidate)
    if follow_candidate(session, candidate.name):
        catch_up(beside)
    _, found = beside.look()
    return found


def _tell(
    session: Session, candidate: Candidate, found: Sequence[str], *, json: bool, followed: bool
) -> None:
    customers = changes_beside(session, candidate.name)
    drafts, issued = documents_priced(session, candidate.name)
    moved = sorted(customers, key=lambda each: (-abs(each.difference_minor), each.name))
    if json:
        print_json(
            {
                "name": candidate.name,
                "began": instant_text(candidate.began),
                "drafts": drafts,
                "documents": issued,
                "revenue": [each.json() for each in summed(customers)],
                "customers": [each.json("customer") for each in customers],
                "limits": candidate.limits.json(),
                "broken": [*found],
                "promoted": candidate.promoted,
                "followed": followed,
            }
        )
        return
    out.print(f"{drafts:,} drafts and {issued:,} documents issued since {candidate.name} began")
    for each in summed(customers):
        out.print(f"all: {_change(each)} {each.currency}")
    table = Table(box=None, pad_edge=False)
    for title in ("customer", "live", "shadow", "difference", "percent"):
        table.add_column(title, justify="left" if title == "customer" else "right")
    for each in moved[:SHOCKS]:
        figures = (each.before_minor, each.after_minor, each.difference_minor)
        amounts = [Money(minor, each.currency).text for minor in figures]
        table.add_row(each.name, *amounts, each.percent_text or "-")
    if moved:
        out.print(table)
    for line in found:
        out.print(f"broken: {line}", markup=False, soft_wrap=True)


@app.command("list")
def list_all(json: AsJson = False) -> None:
    """List the candidates."""
    with any_stack() as around, around.database.session("shadow prices") as session:
        found = read_candidates(session)
    if json:
        print_json([_candidate_json(each) for each in found])
        return
    for each in found:
        stands = "promoted" if each.promoted else "; ".join(each.broken) or "within its limits"
        told = f"{each.name}  since {instant_text(each.began)}  {stands}"
        out.print(told, markup=False, soft_wrap=True)
    if not found:
        out.print("no shadow prices: `talea shadow start NAME --catalog FILE` begins some")


def _candidate_json(each: Candidate) -> dict[str, object]:
    return {
        "name": each.name,
        "began": instant_text(each.began),
        "revises": [f"{new['kind']} {new['subject']}" for new in each.revisions],
        "limits": each.limits.json(),
        "broken": [*each.broken],
        "promoted": each.promoted,
    }


@app.command("stop")
def stop(name: Name, json: AsJson = False) -> None:
    """Stop whoever follows it; `start` without a catalog goes on."""
    with any_stack() as around, around.database.session("shadow prices") as session:
        find_candidate(session, name)
        _stop(session, name)
    print_done({"name": name, "stopped": True}, f"nobody follows {name}", json=json)


def _stop(session: Session, name: str) -> None:
    deadline = monotonic() + _STOPS_S
    while not follow_candidate(session, name):
        if monotonic() > deadline:
            raise ServerFailed(f"who follows {name} does not stop within {_STOPS_S:.0f} s")
        ask_follower(session, name, stop=True)
        sleep(_POLL_S)


@app.command("drop")
def drop(name: Name, json: AsJson = False) -> None:
    """Forget it, with all that was rated by it; what was promoted stays in force."""
    with any_stack() as around, around.database.session("shadow prices") as session:
        find_candidate(session, name)
        _stop(session, name)
        drop_candidate(session, name)
    print_done({"name": name, "dropped": True}, f"shadow prices {name} dropped", json=json)


@app.command("promote")
def promote(
    name: Name,
    actor: Actor,
    reason: Reason,
    at: Annotated[
        str | None, typer.Option(help="From when on; the end of all running periods if left out.")
    ] = None,
    despite: Annotated[
        bool, typer.Option("--despite-limits", help="Although a limit is broken.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Put its prices in force from a period's edge on."""
    asked = moment("--at", at)
    with any_stack() as around, around.database.session("shadow prices") as session:
        candidate = find_candidate(session, name)
        if candidate.promoted is not None:
            raise BadInput(f"{name} was promoted before: `talea shadow start` another")
        found = candidate.broken or _looked_at(session, candidate)
        if found and not despite:
            raise BadInput(f"{name} broke a limit: {found[0]} (--despite-limits)")
        edge = period_edge(session, candidate) if asked is None else asked
        if edge <= session.clock()():
            raise BadInput(f"{instant_text(edge)} is past: prices change at an edge to come")
        standing = extend(Catalog(), session.read_facts(0)).plans
        sheet = dated(candidate, _sheet(candidate), edge, standing)
        (position, _) = session.fact_head()
        written = apply_sheet(around, sheet, f"shadow prices {name}", Author(actor, reason))
        promoted = promotion_json(edge, position, written)
        note_promoted(session, name, promoted)
    if json:
        print_json({"name": name, **promoted})
    else:
        out.print(f"{len(written)} plans change their prices at {instant_text(edge)}")


def _sheet(candidate: Candidate) -> Sheet:
    found = parse_sheet(candidate.catalog)
    if isinstance(found, Sheet):
        return found
    raise refused(f"shadow prices {candidate.name}", found)


@app.command("rollback")
def rollback(name: Name, actor: Actor, reason: Reason, json: AsJson = False) -> None:
    """Put the former prices in force again, and tell which invoices are affected, by how much."""
    with any_stack() as around:
        with around.database.session("shadow prices") as session:
            candidate = find_candidate(session, name)
        written = take_back(around, candidate, Author(actor, reason))
        found = affected(around, candidate)
    shown = found.looked.shown
    if json:
        facts: list[Json] = [fact.serial for fact in written]
        print_json({**shown.json(), "facts": facts, "left_to_you": [*found.by_hand]})
        return
    _tell_rollback(name, written, shown, found.by_hand)


def _tell_rollback(name: str, written: Sequence[Fact], shown: Diff, by_hand: Sequence[str]) -> None:
    out.print(f"{len(written)} plans have their former prices again")
    for each in shown.documents:
        amount = Money(each.difference_minor, each.currency).text
        number = each.pair.number or "-"
        out.print(f"{number}  {each.pair.customer}  {amount} {each.currency}", markup=False)
    for number in by_hand:
        out.print(f"{number}  was corrected by hand: look at it yourself", markup=False)
    if shown.documents:
        out.print(
            f"their notes: talea shadow notes {name} --diff {shown.id} --actor ... --reason ...",
            markup=False,
            soft_wrap=True,
        )


@app.command("notes")
def notes(
    name: Name,
    shown: Annotated[str, typer.Option("--diff", help="The id that rollback told.")],
    actor: Actor,
    reason: Reason,
    json: AsJson = False,
) -> None:
    """Have the notes issued that a rollback told of, once; refused where anything moved since."""
    with any_stack() as around:
        with around.database.session("shadow prices") as session:
            candidate = find_candidate(session, name)
        looked = affected(around, candidate).looked
        applied = apply_looked(around, looked, shown, Author(actor, reason))
    if json:
        print_json(applied.json(shown))
        return
    for currency, minor in applied.total_minor.items():
        again = " already" if applied.already else ""
        amount = Money(minor, currency).text
        out.print(f"{len(applied.facts)} invoices are corrected{again} by {amount} {currency}")


def _change(each: Change) -> str:
    before, after = (Money(e, each.currency).text for e in (each.before_minor, each.after_minor))
    return f"{before} -> {after} ({each.percent_text or '-'} %)"
