"""What the publisher owes the topics, and what stands on them.

Owns: marks of changed drafts, the place of each issuer's chain, the keys that were published.
Does not own: records (invoice/published.py), sending (stores/publishing.py).
Law: only what is committed is read; a mark goes once what it asks for is acked, and a key is
noted before it is sent. So whatever was cut short is done again, and nothing is forgotten.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pipeline.invoice.published import DraftPosition, DraftText, Issued
from pipeline.stores.postgres.connection import Connection, lead, one

_LEADER_LOCK = "talea publisher"


@dataclass(frozen=True, slots=True)
class DraftChange:
    """A draft that changed: what it is now (None: gone), and the line ids that may stand.

    `standing` is None where nothing of it was ever sent.
    """

    id: str
    payer: str
    marks: Sequence[int]
    standing: frozenset[str] | None
    draft: DraftText | None


@dataclass(frozen=True, slots=True)
class Owed:
    """What is to be published next: documents of each chain in order, then drafts."""

    documents: Sequence[Issued]
    changes: Sequence[DraftChange]

    def __bool__(self) -> bool:
        """Return whether anything is owed."""
        return bool(self.documents or self.changes)


_MARKS_EACH = 4
"""So many marks are looked at for each draft that may be published: what is behind is read again
for the next ones."""
_CHANGES = (
    "SELECT m.id, m.payer, m.marks, p.line_ids,"
    " d.partition_no, d.source_offset, d.log_time_us, d.content, d.hollow, d.issues"
    " FROM (SELECT id, max(payer) AS payer, array_agg(serial) AS marks"
    " FROM (SELECT * FROM draft_change ORDER BY serial LIMIT %s) AS oldest GROUP BY id"
    " ORDER BY min(serial) LIMIT %s) AS m"
    " LEFT JOIN published_draft AS p USING (id) LEFT JOIN draft AS d USING (id) ORDER BY m.id"
)
_HOLLOW = 8
# The issuers one by one along the primary key: the table is as long as history, they are few.
_DOCUMENTS = (
    "WITH RECURSIVE chain (issuer) AS ((SELECT min(issuer) FROM document) UNION ALL"
    " SELECT (SELECT min(issuer) FROM document WHERE issuer > chain.issuer)"
    " FROM chain WHERE chain.issuer IS NOT NULL)"
    " SELECT d.issuer, d.place, d.number, d.id, d.payer,"
    " d.ordinal, d.content, d.record, d.seal FROM chain"
    " LEFT JOIN published_chain AS p USING (issuer) CROSS JOIN LATERAL"
    " (SELECT * FROM document WHERE issuer = chain.issuer AND place > coalesce(p.place, 0)"
    " AND kept IS NULL"
    " ORDER BY place LIMIT %s) AS d ORDER BY d.issuer, d.place LIMIT %s"
)


def lead_publishing(connection: Connection) -> bool:
    """Return whether publishing is this connection's, from now on until it ends."""
    return lead(connection, _LEADER_LOCK)


def read_owed(connection: Connection, count_max: int) -> Owed:
    """Return up to so many documents and changes that are not published yet.

    Of each draft the marks that are behind its oldest go with it: one that is rated more often
    than it is published is published once.
    """
    # Changes first: the document of a draft that is gone was committed with the mark, so it is
    # seen now and goes out before the draft is taken off; unless there are more than fit.
    marked = connection.execute(_CHANGES, [_MARKS_EACH * count_max, count_max])
    found = marked.fetchall()
    templates = _templates(connection, {row[_HOLLOW] for row in found} - {None})
    changes = [_change(row, templates) for row in found]
    rows = connection.execute(_DOCUMENTS, [count_max, count_max]).fetchall()
    documents = [_issued(row) for row in rows]
    return Owed(documents, changes if len(documents) < count_max else [])


def _templates(connection: Connection, digests: Iterable[str]) -> Mapping[str, str]:
    """Return hollow texts by digest, each fetched once: under a digest there is ever only one."""
    new = [each for each in digests if each not in _FETCHED]
    if new:
        if len(_FETCHED) > _FETCHED_MAX:
            _FETCHED.clear()
            new = [*digests]
        rows = connection.execute(
            "SELECT digest, template FROM hollow_text WHERE digest = ANY(%s)", [new]
        )
        _FETCHED.update(rows.fetchall())
    return _FETCHED


_FETCHED: dict[str, str] = {}
_FETCHED_MAX = 1_000


def _change(row: Sequence[object], templates: Mapping[str, str]) -> DraftChange:
    document_id, payer, marks, standing, *position, content, hollow, issues = row
    draft = None
    if content is not None:
        at, text, told = DraftPosition(*cast(list[int], position)), str(content), str(issues)
        if hollow is None:
            draft = DraftText.kept(at, text, told)
        else:
            draft = DraftText.told(at, templates[cast(str, hollow)], text.split("\n"), told)
    return DraftChange(
        cast(str, document_id),
        cast(str, payer),
        cast(list[int], marks),
        None if standing is None else frozenset(cast(list[str], standing)),
        draft,
    )


def _issued(row: Sequence[object]) -> Issued:
    *columns, content, record, seal = row
    issuer, place, number, document_id, payer, ordinal = columns
    return Issued(
        cast(str, issuer),
        cast(int, place),
        cast(str, number),
        cast(str, document_id),
        cast(str, payer),
        bytes(cast(bytes, content)),
        bytes(cast(bytes, record)),
        bytes(cast(bytes, seal)),
        cast(int, ordinal),
    )


def note_keys(connection: Connection, changes: Iterable[DraftChange]) -> None:
    """Note every key that is about to be sent, beside those that may stand already."""
    rows = []
    for change in changes:
        if change.draft is None:
            continue
        standing, new = change.standing or frozenset(), change.draft.lines.keys()
        if change.standing is None or not new <= standing:
            rows.append((change.id, change.payer, sorted(standing | new)))
    _write_keys(connection, rows)


def _write_keys(connection: Connection, rows: Sequence[tuple[str, str, list[str]]]) -> None:
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO published_draft (id, payer, line_ids) VALUES (%s, %s, %s)"
            " ON CONFLICT (id) DO UPDATE SET line_ids = excluded.line_ids",
            rows,
        )


def settle(connection: Connection, owed: Owed) -> None:
    """Note that all of it is acked, in one transaction."""
    with connection.transaction():
        marks = [mark for change in owed.changes for mark in change.marks]
        connection.execute("DELETE FROM draft_change WHERE serial = ANY(%s)", [marks])
        gone = [change.id for change in owed.changes if change.draft is None]
        connection.execute("DELETE FROM published_draft WHERE id = ANY(%s)", [gone])
        _write_keys(
            connection,
            [
                (change.id, change.payer, sorted(change.draft.lines))
                for change in owed.changes
                if change.draft and (change.standing or frozenset()) - change.draft.lines.keys()
            ],
        )
        write_chains(connection, {one.issuer: one.place for one in owed.documents})


def write_chains(connection: Connection, places: Mapping[str, int]) -> None:
    """Note up to which place each issuer's documents stand on the topic."""
    for issuer, place in places.items():
        connection.execute(
            "INSERT INTO published_chain (issuer, place) VALUES (%s, %s)"
            " ON CONFLICT (issuer) DO UPDATE SET place = excluded.place",
            [issuer, place],
        )


def cluster_identity(connection: Connection) -> str:
    """Return what tells this database from every other, and from itself before a restore."""
    system, timeline = one(
        connection,
        "SELECT system_identifier::text, timeline_id::text"
        " FROM pg_control_system(), pg_control_checkpoint()",
    )
    return f"{system}/{timeline}"


def publication_identity(connection: Connection) -> str | None:
    """Return between which database and topics was published so far; None: never."""
    row = connection.execute("SELECT identity FROM publication").fetchone()
    return row[0] if row else None


def sealed_at(connection: Connection, issuer: str, place: int) -> bytes | None:
    """Return the seal at a place of an issuer's chain."""
    row = connection.execute(
        "SELECT seal FROM document WHERE issuer = %s AND place = %s", [issuer, place]
    ).fetchone()
    return bytes(row[0]) if row else None


def begin_publication(
    connection: Connection,
    identity: str,
    standing: Mapping[str, tuple[str, frozenset[str]]],
    chains: Mapping[str, int],
) -> None:
    """Owe everything anew, knowing what stands: (payer, line ids) by draft, place by issuer."""
    with connection.transaction():
        connection.execute("DELETE FROM published_chain")
        connection.execute("DELETE FROM published_draft")
        _write_keys(
            connection, [(key, payer, sorted(lines)) for key, (payer, lines) in standing.items()]
        )
        write_chains(connection, chains)
        connection.execute(
            "INSERT INTO draft_change (id, payer)"
            " SELECT id, payer FROM draft UNION SELECT id, payer FROM published_draft"
        )
        connection.execute(
            "INSERT INTO publication (identity) VALUES (%s)"
            " ON CONFLICT (one) DO UPDATE SET identity = excluded.identity",
            [identity],
        )
