"""`talea incident`: prices were wrong for a while: hold, survey, roll back, credit, tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline.catalog.catalog import Catalog, extend
from pipeline.cli.deciding import moment
from pipeline.cli.diffs import tell_diff
from pipeline.cli.options import Actor, AsJson, Reason
from pipeline.cli.replay import paced
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.errors import BadInput, CheckFailed
from pipeline.core.identity import Json, canonical
from pipeline.core.money import Money
from pipeline.replay.incident import Incident, Step
from pipeline.replay.post_mortem import Mail, PostMortem, amounts_text, html, markdown, notices
from pipeline.stores.mail import message_of, send_mails, write_mails
from pipeline.stores.postgres.facts import Author, personal_values
from pipeline.workers import incidents
from pipeline.workers.incidents import Surveyed
from pipeline.workers.surroundings import Surroundings

app = typer.Typer(
    help="Prices were wrong for a while: hold, survey, roll back, credit, tell.",
    no_args_is_help=True,
)

_ISSUED_S = 60.0
_SENDER = "billing@talea.invalid"

Name = Annotated[str, typer.Argument(help="What the incident is called, like INC-7.")]
Since = Annotated[str, typer.Option(help="Prices said from this instant on were wrong.")]
Until = Annotated[str | None, typer.Option(help="Before this instant; until now if left out.")]
Subject = Annotated[
    list[str] | None, typer.Option(help="Only of this plan, price book, ...; repeat it.")
]
Folder = Annotated[Path, typer.Option("--to", help="Folder for the report and the notices.")]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where notices go, and by which server; None: they are written only."""

    sender: str
    finance: str | None = None
    legal: str | None = None
    server: str | None = None


@app.command("open")
def open_it(
    name: Name,
    since: Since,
    actor: Actor,
    reason: Reason,
    until: Until = None,
    subject: Subject = None,
    hold: Annotated[bool, typer.Option(help="Hold back all that would be issued.")] = True,
    json: AsJson = False,
) -> None:
    """Write down which prices were wrong, and hold everything back that would be issued."""
    begin = moment("--since", since)
    if begin is None:
        raise BadInput("--since: since when were prices wrong?")
    with any_stack() as around:
        author = Author(actor, reason)
        end = moment("--until", until)
        incidents.open_incident(around, name, begin, end, subject or (), author, hold=hold)
        told = incidents.report_of(around, name)
    _tell_report(told, json)


@app.command("survey")
def survey(name: Name, json: AsJson = False) -> None:
    """Fold the log once more without what was wrong; tell what it came to, line by line."""
    with any_stack() as around, paced(f"incident {name}") as tell:
        found = incidents.survey(around, name, tell)
    if json:
        print_json(_survey_json(found))
    else:
        _tell_survey(found)


def _survey_json(found: Surveyed) -> dict[str, Json]:
    drafts: list[Json] = [each.json() for each in found.drafts]
    return {"incident": found.incident.name, **found.diff.json(), "drafts": drafts}


def _tell_survey(found: Surveyed) -> None:
    tell_diff(found.diff)
    for each in found.drafts:
        minor = (each.before_minor or 0, each.after_minor or 0)
        before, after = (Money(amount, each.currency).text for amount in minor)
        told = f"draft of {each.customer}, {each.cut_instant}: {before} -> {after} {each.currency}"
        out.print(told, markup=False, soft_wrap=True)
    if found.drafts:
        out.print("drafts come right by themselves once the prices are rolled back")


@app.command("rollback")
def rollback(name: Name, actor: Actor, reason: Reason, json: AsJson = False) -> None:
    """Put in force what stood before, and let go on what was held."""
    with any_stack() as around:
        written = incidents.roll_back(around, name, Author(actor, reason))
    told = [f"{fact.kind.value} {fact.subject}" for fact in written]
    if json:
        print_json({"incident": name, "rolled_back": told})
    else:
        out.print(f"as before: {', '.join(told) or 'everything already'}", markup=False)


@app.command("credit")
def credit(
    name: Name,
    shown: Annotated[str, typer.Option("--diff", help="The id of the survey you looked at.")],
    actor: Actor,
    reason: Reason,
    json: AsJson = False,
) -> None:
    """Have the notes issued that a survey shows, once; refused where anything moved since."""
    with any_stack() as around:
        told = incidents.credit(around, name, shown, Author(actor, reason))
    _tell_report(told, json)


@app.command("report")
def report(
    name: Name,
    to: Folder,
    sender: Annotated[str, typer.Option(help="Whom notices are from.")] = _SENDER,
    finance: Annotated[str | None, typer.Option(help="Address of finance.")] = None,
    legal: Annotated[str | None, typer.Option(help="Address of legal.")] = None,
    smtp: Annotated[str | None, typer.Option(help="HOST:PORT to send notices by.")] = None,
    json: AsJson = False,
) -> None:
    """Write the report for the post-mortem and the notices; send them where a server is named."""
    with any_stack() as around:
        told = incidents.report_of(around, name)
        files = write_report(around, told, to, Addresses(sender, finance, legal, smtp))
    if json:
        print_json({**told.json(), "files": [str(path) for path in files]})
    else:
        for path in files:
            out.print(str(path), markup=False, soft_wrap=True)


def write_report(
    around: Surroundings, told: PostMortem, folder: Path, addresses: Addresses
) -> list[Path]:
    """Write the report in three forms and a notice for each who must know; return the files.

    Raises:
        BadInput: the folder cannot be written.
        ServerFailed: the mail server does not take a notice.

    """
    mails = notices(told)
    known = _customers(around, told.customers)
    to = [_address(mail, known, addresses) for mail in mails]
    made = [(m, message_of(m, addresses.sender, a)) for m, a in zip(mails, to, strict=True)]
    unsent = write_mails(folder / "notices", made)
    try:
        (folder / "report.json").write_bytes(canonical(told.json()) + b"\n")
        (folder / "report.md").write_text(markdown(told), "utf-8")
        (folder / "report.html").write_text(html(told), "utf-8")
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror}: name a folder that can be written") from None
    if addresses.server is not None:
        send_mails(addresses.server, unsent)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _customers(around: Surroundings, names: Sequence[str]) -> dict[str, str]:
    """Return the addresses of customers whose profile has an `email`."""
    with around.database.session("incident notices") as session:
        catalog = extend(Catalog(), session.read_facts(0))
        told = {
            n: catalog.customers[n].profile["email"]
            for n in names
            if "email" in catalog.customers[n].profile
        }
        values = personal_values(session, told.values())
    return {name: values[each] for name, each in told.items() if each in values}


def _address(mail: Mail, known: dict[str, str], addresses: Addresses) -> str | None:
    if mail.about is not None:
        return known.get(mail.about)
    return addresses.finance if mail.audience == "finance" else addresses.legal


@app.command("close")
def close(name: Name, actor: Actor, reason: Reason, json: AsJson = False) -> None:
    """Write down that it is over."""
    with any_stack() as around:
        told = incidents.close(around, name, Author(actor, reason))
    _tell_report(told, json)


@app.command("list")
def list_all(json: AsJson = False) -> None:
    """List all incidents, and what was done last about each."""
    with any_stack() as around:
        _, known = incidents.read_incidents(around)
    rows = [(each.name, each.step.value, instant_text(_found_at(each))) for each in known.values()]
    if json:
        names = ("name", "step", "opened")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    table = Table(box=None, pad_edge=False)
    for title in ("name", "stands at", "opened"):
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _found_at(incident: Incident) -> Instant:
    return incident.steps[Step.OPENED].recorded_at


@app.command("run")
def run(
    name: Name,
    since: Since,
    to: Folder,
    actor: Actor,
    reason: Reason,
    until: Until = None,
    subject: Subject = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    sender: Annotated[str, typer.Option(help="Whom notices are from.")] = _SENDER,
    finance: Annotated[str | None, typer.Option(help="Address of finance.")] = None,
    legal: Annotated[str | None, typer.Option(help="Address of legal.")] = None,
    smtp: Annotated[str | None, typer.Option(help="HOST:PORT to send notices by.")] = None,
    json: AsJson = False,
) -> None:
    """Do all of it, one step after the other, and ask before each that bills or changes prices."""
    if json and not yes:
        raise BadInput("--json asks nobody anything: say --yes too")
    begin = moment("--since", since)
    if begin is None:
        raise BadInput("--since: since when were prices wrong?")
    addresses, author = Addresses(sender, finance, legal, smtp), Author(actor, reason)
    with any_stack() as around:
        end = moment("--until", until)
        incidents.open_incident(around, name, begin, end, subject or (), author)
        told, files = guide(around, name, author, to, addresses, quiet=json, ask=not yes)
    if json:
        print_json({**told.json(), "files": [str(path) for path in files]})


def guide(
    around: Surroundings,
    name: str,
    author: Author,
    folder: Path,
    addresses: Addresses,
    *,
    quiet: bool = False,
    ask: bool = False,
) -> tuple[PostMortem, list[Path]]:
    """Lead through an incident that was opened; return what is told of it, and the files.

    Raises:
        CheckFailed: the person said no: the steps before stand, and it goes on from there.

    """

    def say(text: str) -> None:
        if not quiet:
            out.print(text, markup=False, soft_wrap=True)

    def agreed(what: str) -> None:
        if ask and not typer.confirm(what):
            raise CheckFailed(f"{name} stands where it was: go on with talea incident run {name}")

    told = incidents.report_of(around, name)
    say(f"1. found: {'; '.join(e.what for e in told.timeline if ' was wrong' in e.what)}")
    say("2. held: nothing more is issued for now")
    agreed("3. put in force what stood before, and let go on what is held?")
    written = incidents.roll_back(around, name, author)
    say(f"3. rolled back: {len(written)} prices as they were")
    left = incidents.await_issued(around, _ISSUED_S)
    if left:
        say(f"   {left} documents cut meanwhile still wait (an approval, a tax): talea doctor")
    _, incident = incidents.known_incident(around, name)
    diff_id = incident.diff_id
    if diff_id is None:
        with paced(f"incident {name}") as tell:
            found = incidents.survey(around, name, tell)
        say("4. surveyed: what was billed, against a log folded without what was wrong")
        if not quiet:
            _tell_survey(found)
        diff_id = found.diff.id
        agreed(f"5. issue the notes of {amounts_text(found.diff.totals)} ({diff_id})?")
    told = incidents.credit(around, name, diff_id, author)
    say(f"5. credited: {len(told.documents)} notes, {amounts_text(told.totals)}")
    told = incidents.close(around, name, author)
    files = write_report(around, told, folder, addresses)
    say(f"6. told: report and {len(notices(told))} notices lie in {folder}")
    return told, files


def _tell_report(told: PostMortem, json: bool) -> None:
    if json:
        print_json(told.json())
    else:
        out.print(markdown(told).split("\n## What happened", 1)[0], markup=False)
        for entry in told.timeline:
            when = instant_text(entry.at)
            out.print(f"{when}  {entry.what} ({entry.actor})", markup=False, soft_wrap=True)
