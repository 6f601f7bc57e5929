"""Incidents: found, held, rolled back, credited, closed; each step a fact.

Owns: the order of effects and facts of each step, waiting for what follows from them.
Does not own: which facts were wrong (replay/incident.py), the replay and its diff (replaying.py,
applying.py), what is told of it (replay/post_mortem.py).
Law: each step may be done again, and then does what is left of it.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import cast

from pipeline.catalog.catalog import FactLog
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.planning import as_written, touched
from pipeline.core.calendar import Instant
from pipeline.core.errors import BadInput, ServerFailed
from pipeline.core.identity import Json
from pipeline.invoice.effect import Effect
from pipeline.replay.diff import Diff
from pipeline.replay.incident import (
    Incident,
    Step,
    crediting,
    incidents,
    opening,
    rollback,
    rolling_back,
    stepping,
    without,
)
from pipeline.replay.post_mortem import Issued, PostMortem, post_mortem
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import Author
from pipeline.workers.announcing import await_named
from pipeline.workers.applying import apply_diff
from pipeline.workers.foreseeing import foresee
from pipeline.workers.replaying import (
    Asked,
    diff_replay,
    drop_replay,
    list_replays,
    run_replay,
)
from pipeline.workers.shadowing import Pace
from pipeline.workers.surroundings import Surroundings

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What an incident came to: in what was issued, and in drafts as long as it is in force."""

    incident: Incident
    diff: Diff
    drafts: Sequence[Effect]


def read_incidents(around: Surroundings) -> tuple[list[Fact], dict[str, Incident]]:
    """Return all facts, and the incidents among them."""
    with around.database.session("incidents") as session:
        facts = session.read_facts(0)
    return facts, incidents(facts)


def known_incident(around: Surroundings, name: str) -> tuple[list[Fact], Incident]:
    """Return all facts and an incident.

    Raises:
        BadInput: there is none of that name.

    """
    facts, known = read_incidents(around)
    if name not in known:
        raise BadInput(f"no incident is called {name!r}: `talea incident list` tells all")
    return facts, known[name]


def open_incident(
    around: Surroundings,
    name: str,
    since: Instant,
    until: Instant | None,
    subjects: Collection[str],
    author: Author,
    *,
    hold: bool = True,
) -> Incident:
    """Write down what was wrong, and hold everything back that would be issued.

    Raises:
        BadInput: the name is none or another's, no price was changed then, nothing stood before.

    """

    def decide(facts: Sequence[Fact]) -> list[NewFact]:
        return opening(facts, name, since, until, subjects, hold=hold)

    _write(around, decide, author)
    return known_incident(around, name)[1]


def survey(
    around: Surroundings, name: str, tell: Callable[[Pace], None], workers: int = 1
) -> Surveyed:
    """Return what an incident came to: the log is folded once more, without what was wrong.

    Raises:
        BadInput: there is no such incident, or its replay runs.

    """
    facts, incident = known_incident(around, name)
    drop_survey(around, incident)
    told: dict[str, Json] = {"incident": name, "wrong": [*incident.wrong]}
    asked = Asked(told, lambda known: without(known, incident))
    run_replay(around, incident.replay, asked, workers, tell)
    return Surveyed(
        incident, diff_replay(around, incident.replay), _drafts(around, facts, incident)
    )


def drop_survey(around: Surroundings, incident: Incident) -> None:
    """Take the replay of an incident off the servers, if there is one."""
    if incident.replay in {each.name for each in list_replays(around)}:
        drop_replay(around, incident.replay)


def _drafts(around: Surroundings, facts: Sequence[Fact], incident: Incident) -> Sequence[Effect]:
    """Return what open drafts come to before and after the way back; none once it was gone."""
    back = rollback(facts, incident)
    if not back:
        return ()
    log = FactLog()
    log.append(facts)
    after = as_written(log.at(log.head), back)
    customers = sorted({sold.customer for sold in touched(after, back)})
    with around.database.session("incident drafts") as session:
        found = foresee(session, log, after, customers)
    return [effect for effect in found.effects if effect.difference_minor]


def roll_back(around: Surroundings, name: str, author: Author) -> list[Fact]:
    """Put in force what stood before, and let go on what was held; return the prices written.

    Raises:
        BadInput: there is no such incident.

    """
    known_incident(around, name)

    written = _write(around, lambda facts: rolling_back(facts, name), author)
    return [each for each in written if each.kind not in _OWN]


_OWN = (FactKind.INCIDENT, FactKind.HOLD)


def await_issued(around: Surroundings, patience_s: float) -> int:
    """Return once every document that was cut so far is issued, or how many are not by then.

    What was cut before the way back is priced as it was at its cut: it is issued, and corrected.
    """
    with around.database.session("incident issued") as session:
        tick = session.last_acked_tick()
        serial, deadline = tick.serial if tick else 0, monotonic() + patience_s
        while True:
            cursors = [cursor for cursor, _ in session.load_cursors().values()]
            left = session.documents_owed(serial)
            booked = all(cursor.tick.serial >= serial for cursor in cursors)
            if (booked and not left) or monotonic() > deadline:
                return left
            sleep(_POLL_S)


def credit(
    around: Surroundings, name: str, diff_id: str, author: Author, patience_s: float = 90.0
) -> PostMortem:
    """Have the notes issued that a survey shows, once; return once they are.

    Raises:
        BadInput: there is no such incident, or its diff is another by now.
        ServerFailed: notes are missing: do it again once the finalizer runs and nothing is held.

    """
    _, incident = known_incident(around, name)
    if Step.CREDITED not in incident.steps:
        # In one transaction with the notes: else whoever dies between would survey them as wrong.
        apply_diff(
            around,
            incident.replay,
            diff_id,
            author,
            lambda facts, bodies: crediting(facts, name, diff_id, bodies),
        )
    elif incident.diff_id != diff_id:
        raise BadInput(f"incident {name} was credited by {incident.diff_id} already")
    deadline = monotonic() + patience_s
    while (told_now := report_of(around, name)).missing:
        if monotonic() > deadline:
            first = told_now.missing[0]
            why = "do it again once the finalizer runs and nothing is held"
            raise ServerFailed(f"the note of {first} is not issued: {why}")
        sleep(_POLL_S)
    return told_now


def close(around: Surroundings, name: str, author: Author) -> PostMortem:
    """Write down that an incident is over, and drop its replay.

    Raises:
        BadInput: there is no such incident, or something of it is still to be done.

    """
    _, incident = known_incident(around, name)
    if Step.ROLLED_BACK not in incident.steps:
        raise BadInput(f"the prices are still wrong: talea incident rollback {name}")
    _write(around, lambda facts: stepping(facts, name, Step.CLOSED), author)
    drop_survey(around, incident)
    return report_of(around, name)


def report_of(around: Surroundings, name: str) -> PostMortem:
    """Return what facts and issued documents tell of an incident.

    Raises:
        BadInput: there is none of that name.

    """
    facts, incident = known_incident(around, name)
    with around.database.session("incident report") as session:
        return told_of(facts, incident, session.read_documents())


def told_of(facts: Sequence[Fact], incident: Incident, documents: Iterable[Document]) -> PostMortem:
    """Return what facts and issued documents tell of an incident."""
    issued, notes = dict[str, Issued](), dict[str, str]()
    for document in documents:
        content = document.content
        totals = cast(dict[str, int], content["totals"])
        number = document.sealed.number
        issued[document.id] = Issued(number, totals["total_minor"])
        if content.get("corrects"):
            notes[str(content["cause"])] = number
    return post_mortem(facts, incident, issued, notes)


def _write(
    around: Surroundings, decide: Callable[[Sequence[Fact]], list[NewFact]], author: Author
) -> list[Fact]:
    """Write facts; return them once they are in force.

    Raises:
        BadInput: `decide` refuses (ValueError).

    """
    with around.database.session("incident") as session:
        try:
            written = session.append_facts(decide, author, session.clock()())
        except ValueError as error:
            raise BadInput(str(error)) from None
    if written:
        await_named(around, written[-1].serial)
    return written
