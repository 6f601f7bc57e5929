"""Drafts and dirty payers.

Law: a draft is replaced only by one of the same or a later position.
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


def dirty_payers(
    connection: Connection, partitions: Iterable[int], count_max: int
) -> list[tuple[str, int, int]]:
    """Return (payer, partition, version) of payers to rate anew."""
    return connection.execute(
        "SELECT payer, partition_no, version FROM dirty WHERE partition_no = ANY(%s)"
        " ORDER BY version LIMIT %s",
        [list(partitions), count_max],
    ).fetchall()


def clean(connection: Connection, rated: Sequence[tuple[str, int, int]]) -> None:
    """Take off the marks that were there when the payers were rated."""
    connection.execute(
        "DELETE FROM dirty USING unnest(%s::text[], %s::bigint[]) AS done (payer, version)"
        " WHERE dirty.payer = done.payer AND dirty.version = done.version",
        [[payer for payer, _, _ in rated], [version for _, _, version in rated]],
    )


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
