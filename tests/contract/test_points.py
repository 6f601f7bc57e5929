"""Points in PostgreSQL answer as those of a refold do: under every cut, levels carried over."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import Books as FoldedBooks
from fixtures_stack import StackMaker
from integration.running import RunningStack
from laws.test_slices_booking import Sent, booked, documents, lines_of, stories
from pipeline.book.booking import Cursor
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import carried_by_all, planned_lines
from pipeline.ledger.seal import content_bytes
from pipeline.stores.postgres.books import Anchor, Books, Flush
from pipeline.stores.postgres.connection import Connection
from pipeline.stores.postgres.usage import read_usage

pytestmark = pytest.mark.servers


TABLES = "usage, usage_point, series, cursor, sequence_state, partition_tick, cut, dirty"


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A stack of which only the tables are used."""
    return make_shared_stack()


def issued(connection: Connection, kept: FoldedBooks) -> dict[tuple[str, Instant], bytes]:
    """The content of every document, of usage that was saved and read."""
    catalog, found = kept.facts.at(kept.facts.head), {}
    contents: dict[str, list[dict[str, Json]]] = {}
    for cut in kept.cuts:
        carried = carried_by_all(contents.setdefault(cut.payer, []))
        lines = planned_lines(catalog, cut.payer, cut.currency, cut.instant, carried)
        used = read_usage(connection, [e.request for e in lines if e.request], cut.serial)
        for document in compose(catalog, cut.payer, cut.currency, cut.instant, lines, used):
            found[cut.payer, cut.instant] = content_bytes(document.content)
            contents[cut.payer].append(document.content)
    return found


@settings(max_examples=12)
@given(stories(), st.randoms(use_true_random=False))
def test_documents_are_the_same_from_tables_and_from_memory(
    stack: RunningStack, story: list[Sent], chance: Random
) -> None:
    (line,) = lines_of(story, 1, chance)
    kept = booked(line, chance)
    with stack.around.database.session("owner", owner=True) as owner:
        owner.execute(f"TRUNCATE {TABLES}")
    with stack.around.database.session("books") as connection:
        books, before = Books(connection), Cursor(0)
        for flush in kept.booked:
            books.save([Flush(before, before, Anchor("topic", b""), flush)])

        assert issued(connection, kept) == documents([kept])
