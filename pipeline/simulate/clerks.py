"""Clerks: people who look after what is issued, in the story of one seed.

Owns: how often they decide what of which document, how much of it, what they say twice.
Does not own: whether it may be (workers/paying.py, correcting.py), what comes of it (lived.py,
noted.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from random import Random
from typing import cast

from pipeline.catalog.corrections import Decision, Part
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.errors import BadInput
from pipeline.invoice.disputing import Ruling
from pipeline.simulate.agreements import Body
from pipeline.simulate.folding import log_of
from pipeline.simulate.jobs import ADA, job
from pipeline.simulate.papers_session import WorkerSession
from pipeline.simulate.roles import Stage
from pipeline.stores.postgres.documents import Document
from pipeline.workers.contesting import contesting
from pipeline.workers.correcting import asking
from pipeline.workers.paying import Moved, happened, recording, writing_off

_AGAIN = 0.25
"""How often they say again what they said: they do not know whether it was heard."""
_SELDOM = 0.3
"""In how many of the seeds money is recorded, and in how many notes are decided."""
_PAYS_S, _PAYS_BACK_S, _WRITES_OFF_S = 3.0, 8.0, 15.0
_CREDITS_S, _DEBITS_S, _VOIDS_S, _DISPUTES_S = 6.0, 10.0, 15.0, 8.0
NOTED = ("credit", "debit", "void", "dispute")
"""The jobs that notes come of."""
Decide = Callable[[WorkerSession, Sequence[Fact]], list[NewFact]]
Jobs = list[tuple[str, float, Callable[[], None]]]
"""Each job, and about how many seconds go by before somebody does it again."""


@dataclass(slots=True)
class Clerks:
    """Everybody who decides about issued documents in one world."""

    stage: Stage
    said: dict[str, list[Decide]] = field(default_factory=dict)
    """What they decided so far, by job."""

    def jobs(self) -> Jobs:
        """Return what they do in this world."""
        draw, found = self.stage.world.streams.of("clerks"), Jobs()
        if draw.random() < _SELDOM:
            found += [
                ("pay", _PAYS_S, self.pay),
                ("pay back", _PAYS_BACK_S, self.pay_back),
                ("write off", _WRITES_OFF_S, self.write_off),
            ]
        if draw.random() < _SELDOM:
            found += [
                ("credit", _CREDITS_S, partial(self.note, "credit", FactKind.CREDIT_NOTE)),
                ("debit", _DEBITS_S, partial(self.note, "debit", FactKind.DEBIT_NOTE)),
                ("void", _VOIDS_S, self.void),
                ("dispute", _DISPUTES_S, self.dispute),
            ]
        return found

    def pay(self) -> None:
        """Record a payment: of all, of a part, of more than there is."""
        self._move("pay", FactKind.PAYMENT)

    def pay_back(self) -> None:
        """Record that money went back."""
        self._move("pay back", FactKind.PAID_BACK)

    def write_off(self) -> None:
        """Give a document up."""
        random = self.stage.world.streams.of("write off")
        for document in self._chosen(random):
            self._say("write off", random, partial(_given_up, document.sealed.number))

    def note(self, name: str, kind: FactKind) -> None:
        """Take something off a document, or add to it."""
        random = self.stage.world.streams.of(name)
        for document in self._chosen(random):
            wanted = _about(random, document, kind)
            is_credit = kind is FactKind.CREDIT_NOTE
            wanted = replace(wanted, refund=is_credit and random.random() < _AGAIN)
            self._say(name, random, partial(_noted, wanted, document.sealed.number))

    def void(self) -> None:
        """Bring a document to zero; now and then have another in its place."""
        random = self.stage.world.streams.of("void")
        for document in self._chosen(random):
            wanted = replace(_about(random, document, FactKind.VOID), parts=(), amount_minor=None)
            again = random.random() < 0.6
            plain = again and random.random() < 0.3
            wanted = replace(wanted, reissue=again, keeps_by_hand=not plain)
            self._say("void", random, partial(_noted, wanted, document.sealed.number))

    def dispute(self) -> None:
        """Contest a document, or end that; what is accepted is what was contested, or another."""
        random = self.stage.world.streams.of("dispute")
        for document in self._chosen(random):
            ruling = random.choice([Ruling.OPEN, Ruling.OPEN, Ruling.ACCEPTED, Ruling.REJECTED])
            wanted = _about(random, document, FactKind.CREDIT_NOTE)
            if ruling is not Ruling.ACCEPTED or random.random() < 0.5:
                lines = tuple(Part(part.line) for part in wanted.parts)
                wanted = replace(wanted, parts=lines, amount_minor=None)
            wanted = replace(wanted, code="dispute", reference=None)
            told = partial(_contested, wanted, ruling, document.sealed.number)
            self._say("dispute", random, told)

    def _move(self, name: str, kind: FactKind) -> None:
        random = self.stage.world.streams.of(name)
        for document in self._chosen(random):
            total = cast(dict[str, int], document.content["totals"])["total_minor"]
            part = random.randint(0, max(total, 1))
            amount = random.choice([total, total, part, total // 2, total + 1])
            moved = Moved(kind, amount, f"tx-{random.randint(1, 60)}")
            self._say(name, random, partial(_moved, document.sealed.number, moved))

    def _chosen(self, random: Random) -> list[Document]:
        """Return a document, seldom a note; none where there is none yet."""
        known = [*self.stage.database.tables.documents.values()]
        invoices = [each for each in known if each.kind == "invoice"]
        chosen = known if random.random() < 0.1 else invoices
        return [random.choice(chosen)] if chosen else []

    def _say(self, name: str, random: Random, decide: Decide) -> None:
        """Write what somebody decides, or what was decided before, and what that makes happen."""
        world, said = self.stage.world, self.said.setdefault(name, [])
        said.append(decide)
        wanted = random.choice(said) if random.random() < _AGAIN else decide
        with job(self.stage, name) as process:
            session = self.stage.session(process)
            try:
                with session.transaction():
                    written = session.append_facts(partial(wanted, session), ADA, world.now)
                    happened(session, written)
            except ValueError as refused:
                world.counted["refused"] += 1
                raise BadInput(str(refused)) from None
            world.counted[name] += len(written)


def _about(random: Random, document: Document, kind: FactKind) -> Decision:
    """Return a decision of all of a document, of an amount, of lines or of a part of one."""
    wanted = Decision(
        kind,
        document.payer,
        document.currency,
        0,
        document.id,
        code=random.choice(["goodwill", "sla"]),
        reference=random.choice([None, None, f"INC-{random.randint(1, 9)}"]),
    )
    lines = cast(list[Body], document.content["lines"])
    if not lines:
        return wanted
    line = random.choice(lines)
    name, amount = str(line["id"]), abs(cast(int, line["total_minor"]))
    match random.choice(["all", "amount", "amount", "line", "lines", "part", "part", "quantity"]):
        case "all":
            return wanted
        case "amount":
            return replace(wanted, amount_minor=random.randint(1, max(2 * amount, 1)))
        case "line":
            return replace(wanted, parts=(Part(name),))
        case "lines":
            some = random.sample(lines, random.randint(0, len(lines)))
            return replace(wanted, parts=tuple(Part(str(each["id"])) for each in some))
        case "part":
            minor = random.choice([amount, 1, random.randint(1, amount + 1)])
            return replace(wanted, parts=(Part(name, amount_minor=max(minor, 1)),))
        case _:
            share = Fraction(random.randint(1, 9), 8)
            counted = abs(Fraction(str(line["quantity"]))) or 1
            return replace(wanted, parts=(Part(name, quantity=counted * share),))


def _moved(
    number: str, moved: Moved, session: WorkerSession, known: Sequence[Fact]
) -> list[NewFact]:
    del known
    return recording(session, _issued(session, number), moved, ADA, session.database.world.now)


def _given_up(number: str, session: WorkerSession, known: Sequence[Fact]) -> list[NewFact]:
    del known
    return writing_off(session, _issued(session, number), ADA, session.database.world.now)


def _noted(
    wanted: Decision, number: str, session: WorkerSession, known: Sequence[Fact]
) -> list[NewFact]:
    wanted = replace(wanted, at=session.database.world.now)
    return asking(session, log_of(known), wanted, number)


def _contested(
    wanted: Decision, ruling: Ruling, number: str, session: WorkerSession, known: Sequence[Fact]
) -> list[NewFact]:
    wanted, document = replace(wanted, at=session.database.world.now), _issued(session, number)
    return contesting(session, log_of(known), known, document, wanted, ruling, ADA)


def _issued(session: WorkerSession, number: str) -> Document:
    document = session.find_document(number)
    if document is None:
        raise ValueError(f"no invoice {number}")
    return document
