"""Drafts and dirty payers.

Law: a draft is replaced only by one of the same or a later position; of dirty payers the one that
was marked first is rated first.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from pipeline.core.calendar import Instant
from pipeline.core.identity import Json, canonical
from pipeline.invoice.published import DraftPosition
from pipeline.stores.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class Draft:
    """A would-be document of a payer at the end of a period."""

    payer: str
    currency: str
    instant: Instant
    position: DraftPosition
    content: dict[str, Json]

    @property
    def id(self) -> str:
        """The id that the document will have."""
        return cast(str, self.content["id"])


def take_dirty(
    connection: Connection, partitions: Iterable[int], count_max: int
) -> list[tuple[str, int]]:
    """Take off the marks that have waited longest; return (payer, partition) of each, by name.

    Call it first in a snapshot. Whoever marks one of them meanwhile waits for its end, and then
    makes a new mark behind all others; who did so just before this saw it has overtaken it.
    """
    taken = connection.execute(
        "DELETE FROM dirty WHERE payer IN (SELECT payer FROM dirty WHERE partition_no = ANY(%s)"
        " ORDER BY since LIMIT %s) RETURNING payer, partition_no",
        [list(partitions), count_max],
    )
    return sorted(taken)


def store_drafts(connection: Connection, drafts: Iterable[Draft]) -> None:
    """Write drafts that are newer than what is there."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO draft (id, payer, currency, instant_us, partition_no, source_offset,"
            " log_time_us, content) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (id) DO UPDATE SET"
            " source_offset = excluded.source_offset, log_time_us = excluded.log_time_us,"
            " content = excluded.content, rated_at = excluded.rated_at"
            " WHERE draft.source_offset <= excluded.source_offset",
            [
                (
                    draft.id,
                    draft.payer,
                    draft.currency,
                    draft.instant,
                    draft.position.partition,
                    draft.position.offset,
                    draft.position.log_time,
                    canonical(dict(draft.content)).decode(),
                )
                for draft in drafts
            ],
        )


def drop_drafts(connection: Connection, payers: Sequence[str], keep: Sequence[Draft]) -> None:
    """Delete the drafts of payers that are not among those kept."""
    connection.execute(
        "DELETE FROM draft WHERE payer = ANY(%s) AND NOT id = ANY(%s)",
        [list(payers), [draft.id for draft in keep]],
    )


def read_drafts(connection: Connection, payer: str | None = None) -> list[Draft]:
    """Return the drafts of one payer, or all."""
    rows = connection.execute(
        "SELECT payer, currency, instant_us, partition_no, source_offset, log_time_us, content"
        " FROM draft WHERE %s::text IS NULL OR payer = %s"
        " ORDER BY payer, currency, instant_us, id",
        [payer, payer],
    )
    return [
        Draft(
            owner,
            currency,
            instant,
            DraftPosition(partition, offset, log_time),
            cast(dict[str, Json], json.loads(content)),
        )
        for owner, currency, instant, partition, offset, log_time, content in rows
    ]
