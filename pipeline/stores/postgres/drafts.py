"""Drafts and dirty payers.

Law: a draft is replaced only by one of the same or a later position; of dirty payers the one that
was marked first is rated first.

A text that many have is kept once (`hollow_text`), and of each draft what is told in its gaps.
Whoever reads the whole reads `told_draft`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, LiteralString, NamedTuple, cast

from pipeline.core.calendar import Instant
from pipeline.core.identity import Json, canonical
from pipeline.invoice.hollow import Filled
from pipeline.invoice.published import NO_ISSUES, DraftPosition
from pipeline.stores.postgres.arrays import LONGS, TEXTS, longs, texts
from pipeline.stores.postgres.connection import Connection


class Draft(NamedTuple):
    """A would-be document of a payer at the end of a period."""

    id: str
    """The id that the document will have."""
    payer: str
    currency: str
    instant: Instant
    position: DraftPosition
    told: str | Filled
    """Its content in canonical text, or what is told in the gaps of one that others have too."""
    issues: Sequence[Mapping[str, Json]] = ()
    """Validation issues as JSON: with a critical one it would not be issued."""

    @classmethod
    def of(
        cls,
        payer: str,
        currency: str,
        instant: Instant,
        position: DraftPosition,
        content: dict[str, Json],
        issues: Sequence[Mapping[str, Json]] = (),
    ) -> "Draft":
        """Return the draft with a content."""
        text = canonical(content).decode()
        return cls(cast(str, content["id"]), payer, currency, instant, position, text, issues)

    @property
    def text(self) -> str:
        """Its content in canonical text."""
        return self.told if isinstance(self.told, str) else self.told.text

    @property
    def content(self) -> dict[str, Json]:
        """Its content as JSON, read anew each time."""
        return cast(dict[str, Json], json.loads(self.text))


def awaited_taxes(connection: Connection, count_max: int) -> list[dict[str, Json]]:
    """Return questions of tax that drafts await, each once."""
    rows = connection.execute(
        "SELECT DISTINCT question::text FROM told_draft,"
        " json_array_elements(content::json #> '{tax,awaited}') AS question"
        " WHERE issues <> '[]' LIMIT %s",
        [count_max],
    )
    return [cast(dict[str, Json], json.loads(question)) for (question,) in rows]


def take_dirty(
    connection: Connection, partitions: Iterable[int], count_max: int
) -> list[tuple[str, int]]:
    """Take off the marks that have waited longest; return (payer, partition) of each, by name.

    Call it first in a snapshot. Whoever books one of these partitions meanwhile waits for its end,
    and then makes new marks behind all others; who did so just before this saw it has overtaken it.
    """
    numbers = list(partitions)
    connection.execute(_HOLD_BOOKS, [numbers, numbers])
    return sorted(connection.execute(_TAKE_DIRTY, [numbers, count_max]))


# Sought by place, or Postgres may well compare each that is marked with each that is taken. Asked
# so, nobody takes few to be of these partitions, and sorts all of them instead of reading in order.
_TAKE_DIRTY: LiteralString = (
    "DELETE FROM dirty WHERE ctid = ANY(ARRAY(SELECT ctid FROM dirty"
    " WHERE array_position(%s::integer[], partition_no) IS NOT NULL ORDER BY since LIMIT %s))"
    " RETURNING payer, partition_no"
)
# A booking leaves the marks that stand as they are: only its cursor tells that it was there.
_HOLD_BOOKS: LiteralString = (
    "SELECT FROM cursor WHERE partition_no = ANY(%s)"
    " AND EXISTS (SELECT FROM dirty WHERE partition_no = ANY(%s))"
    " ORDER BY partition_no FOR SHARE OF cursor"
)


def store_drafts(connection: Connection, drafts: Iterable[Draft]) -> None:
    """Write drafts that are newer than what is there, at once."""
    rows, hollows = [], dict[str, str]()
    for draft in drafts:
        text, digest = draft.told, ""
        if isinstance(text, Filled):
            digest = text.hollow.digest
            hollows[digest] = text.hollow.template
            text = "\n".join(text.told)
        issues = canonical([*map(dict, draft.issues)]).decode() if draft.issues else NO_ISSUES
        row = (
            draft.id,
            draft.payer,
            draft.currency,
            draft.instant,
            draft.position.partition,
            draft.position.offset,
            draft.position.log_time,
            issues,
            text,
            digest,
        )
        rows.append(row)
    if hollows:
        connection.execute(_KEEP_HOLLOW, [texts(hollows), texts(hollows.values())])
    if rows:
        columns = zip(_UPSERT_COLUMNS, zip(*rows, strict=True), strict=True)
        connection.execute(_UPSERT, [told(column) for told, column in columns])


_KEEP_HOLLOW: LiteralString = (
    f"INSERT INTO hollow_text (digest, template) SELECT * FROM unnest({TEXTS}, {TEXTS})"
    " ON CONFLICT DO NOTHING"
)
_UPSERT_COLUMNS: Sequence[Callable[[Iterable[Any]], str]] = (
    texts,
    texts,
    texts,
    longs,
    longs,
    longs,
    longs,
    texts,
    texts,
    texts,
)
_UPSERT: LiteralString = (
    "INSERT INTO draft (id, payer, currency, instant_us, partition_no, source_offset,"
    " log_time_us, issues, content, hollow)"
    " SELECT id, payer, currency, instant, partition, at, log_time, issues, content,"
    f" nullif(hollow, '') FROM unnest({TEXTS}, {TEXTS}, {TEXTS},"
    f" {LONGS}, {LONGS}, {LONGS}, {LONGS}, {TEXTS}, {TEXTS}, {TEXTS})"
    " AS w (id, payer, currency, instant, partition, at, log_time, issues, content, hollow)"
    " ON CONFLICT (id) DO UPDATE SET"
    " source_offset = excluded.source_offset, log_time_us = excluded.log_time_us,"
    " content = excluded.content, hollow = excluded.hollow, issues = excluded.issues,"
    " rated_at = excluded.rated_at"
    " WHERE draft.source_offset <= excluded.source_offset"
)


def hold_drafts(connection: Connection, payers: Sequence[str]) -> Iterator[str]:
    """Lock the drafts of payers; return their ids.

    By id, as the finalizer does: neither ever waits for the other in a ring. Call it in a
    snapshot: else who has just been overtaken is left out.
    """
    locked = connection.execute(_HOLD_DRAFTS, [texts(payers)])
    return (name for (name,) in locked)


# Sought payer by payer, then by place: where nobody has counted what is in the table yet, Postgres
# takes a bite of payers for half of all, and reads every draft in the order of ids.
_HOLD_DRAFTS: LiteralString = (
    "SELECT id FROM draft WHERE ctid = ANY(ARRAY("
    f"SELECT own.place FROM unnest({TEXTS}) AS w (payer) CROSS JOIN LATERAL"
    " (SELECT ctid AS place FROM draft WHERE draft.payer = w.payer OFFSET 0) AS own))"
    " ORDER BY id FOR UPDATE"
)


def drop_drafts(connection: Connection, held: Iterable[str], keep: Iterable[Draft]) -> None:
    """Delete the drafts that are held and not kept.

    What was cut and is not prepared yet stays as it is: the finalizer takes it, or says what is
    wrong with it.
    """
    kept = {draft.id for draft in keep}
    left = [name for name in held if name not in kept]
    if left:  # seldom: a period ended, or is none any more
        connection.execute(
            "DELETE FROM draft WHERE id = ANY(%s) AND NOT EXISTS (SELECT"
            " FROM cut WHERE NOT prepared AND cut.payer = draft.payer"
            " AND cut.currency = draft.currency AND cut.instant_us = draft.instant_us)",
            [left],
        )


def read_drafts(connection: Connection, payer: str | None = None) -> list[Draft]:
    """Return the drafts of one payer, or all."""
    rows = connection.execute(
        f"{_DRAFTS} WHERE %s::text IS NULL OR payer = %s ORDER BY payer, currency, instant_us, id",
        [payer, payer],
    )
    return [_draft(*row) for row in rows]


def find_draft(connection: Connection, name: str) -> Draft | None:
    """Return the draft of an id."""
    row = connection.execute(f"{_DRAFTS} WHERE id = %s", [name]).fetchone()
    return _draft(*row) if row else None


def faulty_drafts(connection: Connection) -> list[tuple[Draft, bool]]:
    """Return the drafts with validation issues, and whether each is cut already."""
    rows = connection.execute(
        f"{_DRAFTS} WHERE issues <> '[]' ORDER BY payer, currency, instant_us, id"
    )
    drafts = [_draft(*row) for row in rows]
    cut = connection.execute("SELECT payer, currency, instant_us FROM cut WHERE NOT prepared")
    waiting = set(cut)
    return [(each, (each.payer, each.currency, each.instant) in waiting) for each in drafts]


_DRAFTS = (
    "SELECT id, payer, currency, instant_us, partition_no, source_offset, log_time_us, content,"
    " issues FROM told_draft"
)


def _draft(
    document_id: str,
    payer: str,
    currency: str,
    instant: Instant,
    partition: int,
    offset: int,
    log_time: Instant,
    content: str,
    issues: str,
) -> Draft:
    position = DraftPosition(partition, offset, log_time)
    return Draft(document_id, payer, currency, instant, position, content, json.loads(issues))
