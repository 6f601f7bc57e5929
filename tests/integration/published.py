"""The billing topics as any client reads them, held against the tables they tell of.

Read by the plain client and folded here: what is checked does not check itself.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from integration.running import RunningStack
from pipeline.core.calendar import instant_text
from pipeline.core.identity import partition_of
from pipeline.stores.kafka import log_ends
from pipeline.topology import BILLING_DRAFT_INVOICES, BILLING_DRAFT_LINES, BILLING_INVOICES, Topic

DRAFTS, LINES, INVOICES = BILLING_DRAFT_INVOICES, BILLING_DRAFT_LINES, BILLING_INVOICES
COMMITTED, EVERYTHING = "read_committed", "read_uncommitted"


@dataclass(frozen=True, slots=True)
class Told:
    """One record of a topic."""

    partition: int
    key: str
    value: Any


def told(stack: RunningStack, topic: Topic, isolation: str = COMMITTED) -> list[Told]:
    """Everything a topic holds now, in order by partition.

    A commit is sure before its marks stand in every partition: readers get there a little later.
    """
    name = stack.around.stack.topic(topic)
    ends = log_ends(stack.around.kafka, name, stack.around.partitions)
    return list(_told(stack, name, isolation, [end for _, end in ends]))


def _told(stack: RunningStack, name: str, isolation: str, ends: list[int]) -> Iterator[Told]:
    consumer = Consumer(
        {
            "bootstrap.servers": stack.around.kafka,
            "group.id": "any-client",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "fetch.wait.max.ms": 20,
        }
    )
    left = set(range(len(ends)))
    consumer.assign([TopicPartition(name, number, 0) for number in left])
    while left:
        message = consumer.poll(20)
        assert message is not None, f"{name} stops answering"
        error, number = message.error(), message.partition()
        assert number is not None
        if error is not None:
            assert error.code() == error._PARTITION_EOF, error
            if (message.offset() or 0) >= ends[number]:
                left.discard(number)
            continue
        key, value = message.key(), message.value()
        yield Told(number, (key or b"").decode(), None if value is None else json.loads(value))
    consumer.close()


def standing(records: list[Told]) -> dict[str, Any]:
    """The last value of every key that has one."""
    last = {record.key: record.value for record in records}
    return {key: value for key, value in last.items() if value is not None}


def await_published(stack: RunningStack) -> None:
    """Return once nothing is owed."""
    stack.until(lambda: not _owed(stack), "everything is published")


def _owed(stack: RunningStack) -> bool:
    row = stack.connection.execute(
        "SELECT EXISTS (SELECT FROM draft_change) OR EXISTS (SELECT FROM document AS d"
        " LEFT JOIN published_chain AS p USING (issuer) WHERE d.place > coalesce(p.place, 0))"
    ).fetchone()
    return row != (False,)


def check_published(stack: RunningStack) -> None:
    """Hold the topics against the tables: the last value of every key, and every document."""
    drafts = stack.drafts()
    positions = {
        draft.id: {
            "partition": draft.position.partition,
            "offset": draft.position.offset,
            "log_time": instant_text(draft.position.log_time),
        }
        for draft in drafts
    }
    assert standing(told(stack, DRAFTS)) == {
        draft.id: {
            "format": "talea.draft.1",
            "position": positions[draft.id],
            "content": draft.content,
        }
        for draft in drafts
    }
    lines: dict[str, Any] = {}
    for draft in drafts:
        content: Any = draft.content
        for line in content["lines"]:
            lines[line["id"]] = {
                "format": "talea.draft-line.1",
                "position": positions[draft.id],
                "document": draft.id,
                "customer": draft.payer,
                "line": line,
            }
    assert standing(told(stack, LINES)) == lines
    check_invoices(stack)


def check_invoices(stack: RunningStack) -> None:
    """Hold the topic of invoices against the table, byte by byte and in chain order."""
    records = told(stack, INVOICES)
    for document in stack.documents():
        sealed, own = document.sealed, [r for r in records if r.key == document.id]
        assert own, f"{sealed.number} is not published"
        assert {r.partition for r in own} == {
            partition_of(document.issuer, stack.around.partitions)
        }
        for record in own:
            assert record.value == {
                "format": "talea.issued.1",
                "issuer": document.issuer,
                "place": sealed.place,
                "number": sealed.number,
                "id": document.id,
                "customer": document.payer,
                "ordinal": document.ordinal,
                "content": sealed.content.decode(),
                "issue_record": sealed.record.decode(),
                "seal": sealed.seal.hex(),
            }
    issued = {document.id for document in stack.documents()}
    assert {record.key for record in records} == issued
    for issuer in {document.issuer for document in stack.documents()}:
        first = dict.fromkeys(r.value["place"] for r in records if r.value["issuer"] == issuer)
        assert list(first) == list(range(1, len(first) + 1))
