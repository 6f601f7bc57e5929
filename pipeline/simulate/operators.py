"""Operators: jobs that people start by hand, each a process of its own, that may die in them.

Owns: what each job is asked to do.
Does not own: how one runs (errands.py), the jobs themselves (workers), when they start (play.py).
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.catalog.by_hand import DocumentEdit
from pipeline.catalog.facts import Fact, NewFact
from pipeline.catalog.hand_rules import telling, waiving
from pipeline.core.calendar import SECOND
from pipeline.core.errors import Code
from pipeline.invoice.issues import INCOMPLETE
from pipeline.invoice.workflow import APPROVAL_NEEDED
from pipeline.replay.amending import Change, Chosen
from pipeline.replay.letters import Selection
from pipeline.simulate.beside import signing_of
from pipeline.simulate.database import Tables
from pipeline.simulate.decisions import CUSTOMERS
from pipeline.simulate.errands import Errands, quiet
from pipeline.simulate.folding import catalog_of
from pipeline.simulate.hands import (
    approved,
    drawn_edit,
    edited_by_hand,
    held,
    is_open,
    released,
    retried,
)
from pipeline.simulate.jobs import ADA
from pipeline.simulate.log import Poison
from pipeline.stores.kafka import usage_log
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.pauses import Pause
from pipeline.workers.amending import amended
from pipeline.workers.checkpointing import checkpoint_behind
from pipeline.workers.pausing import end_pauses, take_skip
from pipeline.workers.redriving import redriven, waived


class Operators(Errands):
    """Everybody who starts jobs in one world."""

    def redrive(self) -> None:
        """Send rejected events again: all that are open, or some."""
        code = self.stage.world.streams.of("redrive").choice(
            [None, None, Code.LATE, Code.UNKNOWN_METER]
        )
        with self._job("redrive") as process:
            job = self._readmission(process)
            done = redriven(job, Selection(code=code), ADA, quiet)
            self.stage.world.counted["redriven"] += len(done.sent)
            self.stage.world.counted["gate_passes"] += len(done.gate_passes)

    def give_up(self) -> None:
        """Write off the rejected events of one kind that are open."""
        codes = [Code.LATE, Code.UNKNOWN_METER, Code.CONFLICT]
        code = self.stage.world.streams.of("give up").choice(codes)
        with self._job("give up") as process:
            job = self._readmission(process)
            found, _ = waived(job, Selection(code=code), ADA, quiet)
            self.stage.world.counted["given_up"] += len(found)

    def amend(self) -> None:
        """Take usage back, known by its id, by its customer or by its time; or put other there."""
        random, now = self.stage.world.streams.of("amend"), self.stage.world.now
        start = now - random.randint(5, 90) * SECOND
        chosen = random.choice(
            [
                self.story.chosen(random),
                Chosen(customer=random.choice(CUSTOMERS), start=start, end=start + 4 * SECOND),
                Chosen(start=start, end=start + SECOND),
            ]
        )
        value = random.choice([None, None, random.randint(0, 9_999)])
        change = None if value is None else Change((value, 2))
        if value is not None:
            self.story.amended.add(Fraction(value, 100))
        with self._job("amend") as process:
            job = self._readmission(process)
            done = amended(job, chosen, change, ADA, quiet)
            self.stage.world.counted["reversed"] += len(done.coming)

    def attend(self) -> None:
        """Look after what is paused: mend the code and go on, or go on without the message."""
        stage, random = self.stage, self.stage.world.streams.of("attend")
        for pause in list(stage.database.tables.pauses.values()):
            if random.random() < 0.4:
                continue
            with self._job("attend") as process:
                session = stage.session(process)
                if random.random() < 0.5:
                    forget = stage.redis.forget
                    place, log = (pause.partition, pause.offset), stage.log(process)
                    clock = stage.clock(process)
                    fact = take_skip(stage.around, log, session, forget, *place, ADA, clock)
                    stage.world.counted["skips"] += 1
                    self._announced(process, fact.serial)
                else:
                    self._mend(pause)
                    stage.world.counted["resumed"] += len(end_pauses(session, pause.partition))

    def waive(self) -> None:
        """Accept that events are missing, of some of the documents that wait for them."""
        stage, random = self.stage, self.stage.world.streams.of("waive")
        for draft in list(stage.database.tables.drafts.values()):
            waits = [issue for issue in draft.issues if issue["code"] == INCOMPLETE]
            for issue in waits if random.random() < 0.6 else ():
                self._decide("waive", partial(_waived, str(issue["id"])), "waivers")

    def tell(self) -> None:
        """Have a document that is still open say something of itself."""
        stage, random = self.stage, self.stage.world.streams.of("tell")
        drafts = self._invoices_open()  # of notes nobody
        if not drafts:
            return
        draft = random.choice(drafts)
        wanted = DocumentEdit(
            draft.id,
            draft.payer,
            purchase_order=random.choice([None, f"PO-{random.randint(1, 9)}"]),
            memo=random.choice([None, "thanks", "for the second floor"]),
            payment_days=random.choice([None, random.randint(1, 60)]),
        )
        self._decide("tell", partial(_told, stage.database.tables, draft, wanted), "terms")

    def edit(self) -> None:
        """Have a line of a document that is still open say something else."""
        stage, random = self.stage, self.stage.world.streams.of("edit")
        drafts = self._invoices_open()
        if not drafts:
            return
        draft = random.choice(drafts)
        wanted = drawn_edit(random, draft)
        if wanted is not None:
            told = partial(edited_by_hand, stage.database.tables, draft, wanted)
            self._decide("edit", told, "edits")

    def approve(self) -> None:
        """Approve some of what waits for it, or have it composed once more."""
        stage, random = self.stage, self.stage.world.streams.of("approve")
        for draft in list(stage.database.tables.drafts.values()):
            waits = any(issue["code"] == APPROVAL_NEEDED for issue in draft.issues)
            if waits and random.random() < 0.6:
                if random.random() < 0.2:
                    self._decide("approve", partial(retried, draft), "retries")
                else:
                    told = partial(approved, stage.database.tables, draft)
                    self._decide("approve", told, "approvals")

    def hold(self, *, busy: bool) -> None:
        """Hold something back, or release all there is."""
        random = self.stage.world.streams.of("hold")
        told = partial(held, random) if busy and random.random() < 0.6 else released
        self._decide("hold", told, "holds")

    def _invoices_open(self) -> list[Draft]:
        kept = self.stage.database.tables.drafts.values()
        others = ('"corrects":', '"replaces":')  # of void documents: they bill what those did
        return [draft for draft in kept if not any(name in draft.text for name in others)]

    def prove(self, key: Ed25519PrivateKey) -> None:
        """Sign up to some document, as whoever proves it does."""
        stage, random = self.stage, self.stage.world.streams.of("prove")
        known = [*stage.database.tables.documents]
        if not known:
            return
        issuer, place = random.choice(known)
        with self._job("prove") as process:
            signing = signing_of(stage, process, key)
            checkpoint_behind(stage.session(process), issuer, place, signing)

    def _mend(self, pause: Pause) -> None:
        """Mend the code, so that the message at a pause kills nobody any more."""
        name = usage_log(self.stage.around.stack)
        for kept in self.stage.topics.records[name, pause.partition][pause.offset :][:1]:
            if isinstance(kept.value, Poison):
                kept.value.mended = True


def _told(
    tables: Tables, draft: Draft, wanted: DocumentEdit, known: Sequence[Fact]
) -> list[NewFact]:
    """Return the edit of a draft, unless its document is prepared or about to be cut."""
    catalog = catalog_of(known)
    return telling(catalog, wanted, ()) if is_open(tables, catalog, draft) else []


def _waived(issue: str, known: Sequence[Fact]) -> list[NewFact]:
    return waiving(catalog_of(known), issue)
