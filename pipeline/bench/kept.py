"""What is kept of a run: rows and bytes in Postgres, keys and bytes in Redis.

Owns: asking for them.  Does not own: the broker's disk (probes.py), what follows (costs.py).
"""

from dataclasses import dataclass
from typing import LiteralString

from pipeline.bench.stand import Stand
from pipeline.stores.kept_claims import kept_claims

_ROWS: LiteralString = (
    "SELECT (SELECT count(*) FROM usage), pg_total_relation_size('usage')::bigint,"
    " (SELECT coalesce(sum(json_array_length(content::json -> 'lines')), 0)::bigint"
    " FROM told_draft),"
    " pg_total_relation_size('draft')::bigint,"
    " (SELECT coalesce(sum(octet_length(content)), 0)::bigint FROM told_draft)"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows with the bytes of their tables, indexes and dead versions counted in.

    `content_bytes` are what a document of these lines would seal.
    """

    usage_rows: int
    usage_bytes: int
    line_items: int
    draft_bytes: int
    content_bytes: int
    claim_keys: int
    claim_bytes: int

    def json(self) -> dict[str, int | float | None]:
        """Return rows, and bytes a row; None where there is no row."""
        return {
            "usage_rows": self.usage_rows,
            "bytes_per_usage_row": _each(self.usage_bytes, self.usage_rows),
            "line_items": self.line_items,
            "bytes_per_draft_line_item": _each(self.draft_bytes, self.line_items),
            "bytes_per_sealed_line_item": _each(self.content_bytes, self.line_items),
            "claim_keys": self.claim_keys,
            "bytes_per_claim_key": _each(self.claim_bytes, self.claim_keys),
        }


def what_is_kept(stand: Stand) -> Kept:
    """Ask the servers."""
    around = stand.around
    row = stand.connection.execute(_ROWS).fetchone()
    claims = kept_claims(around.redis, around.stack, range(around.partitions))
    usage_rows, usage_bytes, line_items, draft_bytes, content_bytes = row or (0,) * 5
    return Kept(
        usage_rows,
        usage_bytes,
        line_items,
        draft_bytes,
        content_bytes,
        claim_keys=sum(one.keys for one in claims),
        claim_bytes=sum(one.bytes for one in claims),
    )


def _each(size: int, count: int) -> float | None:
    return round(size / count, 1) if count else None
