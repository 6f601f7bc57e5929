"""Taking out contents that are older than they must be kept.

Owns: the one UPDATE of an issued document that its triggers let through.
Does not own: which contents, what stays of them (ledger/retention.py).
Law: the fact that tells of it is written in the same transaction, or nothing is removed.
"""

from collections.abc import Mapping

from pipeline.core.errors import BrokenInvariant
from pipeline.stores.postgres.connection import Connection


def remove_contents(connection: Connection, issuer: str, kept: Mapping[int, str]) -> None:
    """Leave of the documents at places of an issuer's chain what is to be kept of each.

    What was said of them as they were prepared goes too. Call it as the owner, in the transaction
    that writes the fact.
    """
    places, texts = [*kept], [*kept.values()]
    changed = connection.execute(
        "UPDATE document SET content = '', kept = told.kept"
        " FROM unnest(%s::bigint[], %s::text[]) AS told (place, kept)"
        " WHERE document.issuer = %s AND document.place = told.place",
        [places, texts, issuer],
    )
    if changed.rowcount != len(kept):
        raise BrokenInvariant(f"{changed.rowcount} contents of {issuer} for {len(kept)} places")
    connection.execute(
        "DELETE FROM validation_issue USING document WHERE document_id = document.id"
        " AND document.issuer = %s AND document.place = ANY(%s)",
        [issuer, places],
    )
