"""The publisher against real Postgres and Kafka, stopped wherever it can be stopped.

Drafts and documents are written by the stores themselves, as the pricing worker and the
finalizer write them; what is told of them is read by a plain client.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from builders import T0
from fixtures_stack import StackMaker
from integration.published import (
    DRAFTS,
    EVERYTHING,
    INVOICES,
    LINES,
    check_published,
    standing,
    told,
)
from integration.running import RunningStack
from pipeline.agents import DraftFeed, InvoiceFeed, LineFeed, What
from pipeline.book.booking import Cut
from pipeline.core.errors import BrokenInvariant, ServerFailed
from pipeline.core.identity import Json, canonical, derived_id, partition_of
from pipeline.invoice.published import DraftPosition
from pipeline.ledger.seal import Issue, Sealed, issue_record, seal_of
from pipeline.stores.kafka import create_topics
from pipeline.stores.postgres import documents
from pipeline.stores.postgres.database import Connection
from pipeline.stores.postgres.drafts import Draft, drop_drafts, hold_drafts, store_drafts
from pipeline.stores.postgres.preparing import Prepared, PreparedCut, save_prepared
from pipeline.stores.publishing import FencedProducer
from pipeline.workers.publisher import Publisher, Sent, run_publisher

pytestmark = pytest.mark.servers

LATENCY_S = 0.5
"""From commit to a consumer; 0.3 s on a machine that does nothing else."""


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A tenant without workers."""
    return make_shared_stack()


@pytest.fixture(autouse=True)
def _closed(stack: RunningStack) -> Iterator[None]:
    """Whatever a test did, in the end the topics say what the tables say, and no usage is lost."""
    yield
    with leading(stack) as publisher:
        drain(publisher)
    check_published(stack)
    assert {p: c.missing for p, c in stack.conservation().items() if c.missing} == {}


class Stopped(Exception):
    """The publisher's process ends here."""


@dataclass
class StoppingOutlet:
    """The real outlet, up to a moment at which the process ends."""

    outlet: FencedProducer
    moment: str = ""
    meanwhile: Callable[[], None] = lambda: None

    def fence(self) -> None:
        self.outlet.fence()

    def send(self, records: Iterable[Sent]) -> None:
        if self.moment == "keys noted":
            raise Stopped
        every = list(records)
        self.outlet.send(islice(every, len(every) // 2 if self.moment == "half sent" else None))
        if self.moment in ("half sent", "sent"):
            raise Stopped

    def commit(self) -> None:
        self.outlet.commit()
        self.meanwhile()
        if self.moment == "acked":
            raise Stopped


MOMENTS = ("keys noted", "half sent", "sent", "acked", "settled")
"""Every effect there is: reading has none, and each of the others ends with one of these."""


@contextmanager
def leading(
    stack: RunningStack, moment: str = "", meanwhile: Callable[[], None] = lambda: None
) -> Iterator[Publisher]:
    """A publisher that leads, until its process ends."""
    connection = stack.around.database.connect(name="publisher", autocommit=True)
    outlet = FencedProducer(stack.around.kafka, stack.around.stack.publisher_id)
    publisher = Publisher(stack.around, connection, StoppingOutlet(outlet, moment, meanwhile))
    try:
        stack.until(publisher.try_lead, "it leads")
        yield publisher
    finally:
        connection.close()


def drain(publisher: Publisher) -> None:
    while publisher.step():
        pass


@dataclass
class Account:
    """A customer with an issuer of its own and one draft, written as the workers write it."""

    stack: RunningStack
    name: str
    offset: int = 0
    committed: list[dict[str, Json]] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"issuer of {self.name}"

    @property
    def draft_id(self) -> str:
        return derived_id("inv", self.name)

    def draft(self, *lines: str) -> Draft:
        """The draft of these lines, at the next position."""
        self.offset += 1
        content: dict[str, Json] = {
            "id": self.draft_id,
            "customer": self.name,
            "lines": [{"id": f"{self.name}/{line}", "total_minor": 1} for line in lines],
        }
        partition = partition_of(self.name, self.stack.around.partitions)
        position = DraftPosition(partition, self.offset, T0 + self.offset)
        return Draft.of(self.name, "EUR", T0, position, content)

    def rate(self, *lines: str, on: Connection | None = None) -> None:
        """Write a draft; on its own it is committed at once."""
        draft = self.draft(*lines)
        store_drafts(on or self.stack.connection, [draft])
        self.committed.append(draft.content)

    def drop_and_rate(self, *lines: str) -> None:
        """Take the draft off and write another one."""
        self.drop()
        self.rate(*lines)

    def drop(self) -> None:
        """Take the draft off."""
        drop_drafts(self.stack.connection, hold_drafts(self.stack.connection, [self.name]), [])

    def issue(self) -> None:
        """Issue the document, as the finalizer does: numbered, sealed, the draft taken off."""
        at = (self.name, "EUR", T0 + len(self.stack.documents(self.name)))
        body: dict[str, Json] = {
            "id": derived_id("inv", self.name, str(at[2])),
            "kind": "invoice",
            "currency": "EUR",
            "totals": {"total_minor": 1},
            "lines": [],
        }
        content = canonical(body)
        prepared = Prepared(*at, "invoice", 0, self.issuer, 1, content, {})
        with self.stack.connection.transaction():
            self.stack.connection.execute(
                "INSERT INTO cut (payer, currency, instant_us, serial, partition_no)"
                " VALUES (%s, %s, %s, 1, 0) ON CONFLICT DO NOTHING",
                at,
            )
            cut = Cut(*at, 1)
            save_prepared(self.stack.connection, [PreparedCut(cut, [prepared], {})])
        documents.register(self.stack.connection, self.issuer, sealed, 1)

    def told(self) -> dict[str, Any]:
        """What stands on the topics for this customer: lines of the draft, or nothing."""
        value = standing(told(self.stack, DRAFTS)).get(self.draft_id)
        lines = standing(told(self.stack, LINES)).values()
        own = sorted(line["line"]["id"] for line in lines if line["customer"] == self.name)
        return {"draft": value and value["content"], "lines": own}


def sealed(waiting: Sequence[Prepared], place: int, previous: str) -> list[Sealed]:
    (prepared,) = waiting
    number = f"{prepared.payer}-{place + 1}"
    issue = Issue(number, prepared.issuer, T0, 14, 1, 1, 1, "2026a", {}, previous)
    record = issue_record(prepared.content, issue)
    return [Sealed(place + 1, number, prepared.content, record, seal_of(record))]


Then = Callable[[Account], None]
THEN: dict[str, Then] = {
    "nothing happens": lambda account: None,
    "a line vanishes": lambda account: account.rate("a"),
    "a line comes": lambda account: account.rate("a", "b", "c"),
    "no line is left": lambda account: account.rate(),
    "it is dropped": lambda account: account.drop(),
    "it is issued": lambda account: account.issue(),
    "it is dropped and rated anew": lambda account: account.drop_and_rate("d"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_at_any_effect_nothing_is_missed(stack: RunningStack, moment: str) -> None:
    """A draft is published by one that is stopped; the world goes on; another one takes over."""
    accounts = {name: Account(stack, f"{name}, {moment}") for name in THEN}
    for account in accounts.values():
        account.rate("z")
    with leading(stack) as publisher:
        drain(publisher)
    for account in accounts.values():
        account.rate("a", "b")
    with leading(stack, moment) as publisher:
        if moment == "settled":
            assert publisher.step() == len(accounts)
        else:
            with pytest.raises(Stopped):
                publisher.step()
    for name, then in THEN.items():
        then(accounts[name])

    with leading(stack) as publisher:
        drain(publisher)

    ids = {name: account.told()["lines"] for name, account in accounts.items()}
    assert {name: [line.split("/")[-1] for line in lines] for name, lines in ids.items()} == {
        "nothing happens": ["a", "b"],
        "a line vanishes": ["a"],
        "a line comes": ["a", "b", "c"],
        "no line is left": [],
        "it is dropped": [],
        "it is issued": [],
        "it is dropped and rated anew": ["d"],
    }
    assert accounts["it is dropped"].told()["draft"] is None
    committed = [content for account in accounts.values() for content in account.committed]
    mine = {account.draft_id for account in accounts.values()}
    for record in told(stack, DRAFTS, EVERYTHING):
        assert (
            record.key not in mine or record.value is None or record.value["content"] in committed
        )


def test_every_issuer_of_a_cut_has_its_draft(stack: RunningStack) -> None:
    """Two documents of one payer, currency and instant: neither takes the other's place."""
    drafts = [Account(stack, "two issuers").draft("a"), Account(stack, "the other").draft("b")]
    store_drafts(stack.connection, [draft._replace(payer="two issuers") for draft in drafts])

    assert {draft.id for draft in stack.drafts("two issuers")} == {draft.id for draft in drafts}
    drop_drafts(stack.connection, hold_drafts(stack.connection, ["two issuers"]), [])


def test_a_transaction_that_commits_late_is_published(stack: RunningStack) -> None:
    """The one that began first commits last, after a later one was published."""
    early, late = Account(stack, "early"), Account(stack, "late")
    with (
        leading(stack) as publisher,
        stack.around.database.session("slow") as slow,
        slow.transaction(),
    ):
        early.rate("a", on=slow)
        late.rate("b")
        drain(publisher)
        assert late.told()["lines"] == ["late/b"]
        assert early.told() == {"draft": None, "lines": []}
    with leading(stack) as publisher:
        assert publisher.step() == 1
    assert early.told()["lines"] == ["early/a"]


def test_what_is_rated_while_it_is_sent_is_sent_again(stack: RunningStack) -> None:
    account = Account(stack, "busy")
    news = iter([["b"], ["c", "d"]])

    def rate() -> None:
        for lines in islice(news, 1):
            account.rate(*lines)

    account.rate("a")
    with leading(stack, meanwhile=rate) as publisher:
        assert [publisher.step() for _ in range(4)] == [1, 1, 1, 0]
    assert account.told()["lines"] == ["busy/c", "busy/d"]


def test_a_draft_that_is_rolled_back_is_never_seen(stack: RunningStack) -> None:
    account = Account(stack, "undecided")
    with leading(stack) as publisher, stack.around.database.session("undecided") as connection:
        connection.execute("BEGIN")
        account.rate("a", on=connection)
        drain(publisher)
        connection.execute("ROLLBACK")
        assert publisher.step() == 0
    assert all(record.key != account.draft_id for record in told(stack, DRAFTS, EVERYTHING))


def test_a_frozen_publisher_that_wakes_is_shut_out(stack: RunningStack) -> None:
    """It lost its lead with an old draft in hand; the newer one stays."""
    account = Account(stack, "frozen")
    account.rate("old")
    outlet = FencedProducer(stack.around.kafka, stack.around.stack.publisher_id)
    outlet.fence()
    value = b'{"format":"talea.draft.1","stale":true}'
    topic = stack.around.stack.topic(DRAFTS)
    partition = partition_of(account.name, stack.around.partitions)
    outlet.send([(topic, partition, account.draft_id.encode(), value)])
    account.rate("new")
    with leading(stack) as publisher:
        drain(publisher)

    with pytest.raises(ServerFailed, match="talea-publisher"):
        outlet.commit()
    assert account.told()["lines"] == ["frozen/new"]


def test_a_second_publisher_waits_and_takes_over(stack: RunningStack) -> None:
    with stack.around.database.session("second") as connection:
        outlet = FencedProducer(stack.around.kafka, stack.around.stack.publisher_id)
        second = Publisher(stack.around, connection, outlet)
        account = Account(stack, "handed over")
        with leading(stack) as first:
            assert not second.try_lead()
            account.rate("a")
            assert first.step() == 1
            account.rate("a", "b")
        stack.until(second.try_lead, "the second leads")
        assert second.step() == 1
    assert account.told()["lines"] == ["handed over/a", "handed over/b"]


def test_chains_are_published_in_order_and_in_bites(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.workers.publisher.BITE", 2)
    one, other = Account(stack, "chain one"), Account(stack, "chain two")
    for _ in range(5):
        one.rate("a")
        one.issue()
        other.issue()
    with leading(stack) as publisher:
        drain(publisher)

    with InvoiceFeed.open(stack.around.kafka, prefix=stack.around.stack.prefix) as feed:
        news = [change.now for change in feed.catch_up() if change.what is What.NEWS]
        places = [issued.place for issued in news if issued and issued.issuer == one.issuer]
    assert places == [1, 2, 3, 4, 5]
    for issued in news:
        (document,) = [d for d in stack.documents() if issued and d.id == issued.id]
        assert issued is not None
        assert (issued.content, issued.record) == (document.sealed.content, document.sealed.record)


def test_feeds_know_what_stands(stack: RunningStack) -> None:
    account = Account(stack, "watched")
    account.rate("a", "b")
    with leading(stack) as publisher:
        drain(publisher)
        kafka, prefix = stack.around.kafka, stack.around.stack.prefix
        with (
            DraftFeed.open(kafka, prefix=prefix) as drafts,
            LineFeed.open(kafka, prefix=prefix) as lines,
        ):
            drafts.catch_up()
            lines.catch_up()
            assert {d.id: dict(d.content) for d in drafts.latest.values()} == {
                draft.id: draft.content for draft in stack.drafts()
            }
            account.rate("b")
            drain(publisher)
            change = next(change for change in drafts if change.id == account.draft_id)
            assert (change.what, change.now) == (What.NEWS, drafts.latest[account.draft_id])
            account.drop()
            drain(publisher)
            change = next(change for change in drafts if change.id == account.draft_id)
            assert (change.what, change.now) == (What.GONE, None)
            seen = [c.what for c in islice(iter(lines), 3) if c.id.startswith("watched/")]
            assert seen == [What.GONE, What.NEWS, What.GONE]


def identity_of(stack: RunningStack, value: str) -> None:
    stack.connection.execute("UPDATE publication SET identity = %s", [value])


def test_another_database_publishes_everything_anew(stack: RunningStack) -> None:
    """After a restore the notes are of another time: a key that only the topic has is taken off."""
    kept, lost = Account(stack, "kept"), Account(stack, "lost")
    for account in (kept, lost):
        account.rate("a", "b")
    with leading(stack) as publisher:
        drain(publisher)
    kept.rate("a")
    lost.drop()
    stack.connection.execute("DELETE FROM draft_change")
    stack.connection.execute("DELETE FROM published_draft")
    stack.connection.execute("DELETE FROM published_chain")
    identity_of(stack, "another cluster")

    with leading(stack) as publisher:
        drain(publisher)

    assert kept.told()["lines"] == ["kept/a"]
    assert lost.told() == {"draft": None, "lines": []}


def test_topics_made_anew_are_filled_anew(stack: RunningStack) -> None:
    account = Account(stack, "refilled")
    account.rate("a")
    account.issue()
    account.rate("a")
    with leading(stack) as publisher:
        drain(publisher)
    around = stack.around
    client = AdminClient({"bootstrap.servers": around.kafka})
    names = [around.stack.topic(topic) for topic in (DRAFTS, LINES, INVOICES)]
    for deleted in client.delete_topics(names).values():
        deleted.result(20)

    create_topics(around.kafka, around.stack, around.partitions)

    with leading(stack) as publisher:
        drain(publisher)
    assert account.told()["lines"] == ["refilled/a"]


def test_a_tail_of_invoices_that_the_database_lost_stops_it(stack: RunningStack) -> None:
    account = Account(stack, "restored")
    account.issue()
    with leading(stack) as publisher:
        drain(publisher)
    with stack.around.database.session("superuser", owner=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM document")
        connection.execute("DELETE FROM document WHERE issuer = %s", [account.issuer])
        identity_of(stack, "a restored cluster")
        with pytest.raises(BrokenInvariant, match="restored-1 at place 1"), leading(stack):
            pass
        connection.execute(
            "INSERT INTO document SELECT * FROM kept WHERE issuer = %s", [account.issuer]
        )


def test_a_draft_without_lines_comes_and_goes(stack: RunningStack) -> None:
    account = Account(stack, "empty")
    account.rate()
    with leading(stack) as publisher:
        drain(publisher)
        assert account.told()["draft"] is not None
        account.drop()
        drain(publisher)
    assert account.told()["draft"] is None


def test_every_write_of_a_draft_leaves_its_mark(stack: RunningStack) -> None:
    """By hand, too: nobody who writes has to think of the publisher."""
    account = Account(stack, "by hand")
    account.rate("a")
    content: dict[str, Json] = {"id": account.draft_id, "customer": "by hand", "lines": []}
    changed = canonical(content).decode()
    with leading(stack) as publisher:
        drain(publisher)
        stack.connection.execute(
            "UPDATE draft SET content = %s WHERE id = %s", [changed, account.draft_id]
        )
        assert publisher.step() == 1
        assert account.told()["lines"] == []
        stack.connection.execute("DELETE FROM draft WHERE id = %s", [account.draft_id])
        assert publisher.step() == 1
    assert account.told()["draft"] is None


def test_an_idle_publisher_tells_of_a_draft_within_a_moment(stack: RunningStack) -> None:
    account, stop = Account(stack, "hurried"), Event()
    kafka, prefix = stack.around.kafka, stack.around.stack.prefix
    running = Thread(target=run_publisher, args=(stack.around, stop))
    running.start()
    took = []
    with DraftFeed.open(kafka, prefix=prefix) as feed:
        account.rate("first")
        next(change for change in feed if change.id == account.draft_id)
        for number in range(9):
            account.rate(str(number))
            committed = monotonic()
            while True:
                lines = [
                    c.now.line_ids for c in feed.read(0.02) if c.now and c.now.customer == "hurried"
                ]
                if frozenset({f"hurried/{number}"}) in lines:
                    break
            took.append(monotonic() - committed)
    stop.set()
    running.join(20)

    assert median(took) < LATENCY_S, took
