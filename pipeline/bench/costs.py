"""The cost model: what a day of so many events needs, worked out from what was measured.

Owns: assumptions (each named, each printed), sizes, where the next wall is.
Does not own: measured figures (results.py), how it is written down (pages.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.bench.results import Found
from pipeline.settings import Settings
from pipeline.topology import PRODUCTION_PARTITIONS, USAGE_EVENTS, USAGE_METERED

PEAK = 3
"""The busiest hour against the mean."""
BUSY = 0.6
"""Share of a core that is planned for."""
EVENTS_A_SERIES = 10_000
"""Events of one series in a day."""
WINDOWS_A_DAY = 96
"""Windows of 15 minutes, each used."""
REPLICAS = 3
GENERATIONS = 2
REDIS_NODE_GB = 64
POSTGRES_NODE_CORES = 32
BROKER_NODE_TB = 20
DAY_S = 86_400
_DAY_MS = DAY_S * 1000
LOG_DAYS = USAGE_EVENTS.retention_ms // _DAY_MS
SLICE_DAYS = USAGE_METERED.retention_ms // _DAY_MS
_GB, _TB = 1e9, 1e12


def generation_s() -> int:
    """Return how long one generation of claims lasts, by default."""
    fields = Settings.model_fields
    return int(fields["horizon_s"].default) + int(fields["tolerance_s"].default)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the model rests on: CPU seconds a million events, bytes."""

    cpu_s: Mapping[str, float]
    log_bytes: float
    slice_bytes: float
    claim_bytes: float
    usage_row_bytes: float
    line_bytes: float
    sealed_line_bytes: float


def measured(point: Found) -> Measured:
    """Return what one run found."""
    broker, kept = point.figures["broker_bytes_per_event"], point.figures["kept"]
    return Measured(
        cpu_s=point.cpu_s,
        log_bytes=broker[USAGE_EVENTS.name],
        slice_bytes=broker[USAGE_METERED.name],
        claim_bytes=kept["bytes_per_claim_key"] or 0.0,
        usage_row_bytes=kept["bytes_per_usage_row"] or 0.0,
        line_bytes=kept["bytes_per_draft_line_item"] or 0.0,
        sealed_line_bytes=kept["bytes_per_sealed_line_item"] or 0.0,
    )


@dataclass(frozen=True, slots=True)
class Needs:
    """What a day of so many events needs; cores are for its busiest hour."""

    events: int
    peak_per_s: float
    cores: Mapping[str, float]
    redis_gb: float
    log_tb: float
    slice_tb: float
    series: int
    usage_rows: int
    usage_gb: float
    usage_kept_tb: float
    drafts_gb: float
    sealed_gb_a_month: float


def needs(found: Measured, events: int) -> Needs:
    """Work out the needs of a day of so many events."""
    peak_per_s = events / DAY_S * PEAK
    series = max(1, events // EVENTS_A_SERIES)
    rows = series * WINDOWS_A_DAY
    return Needs(
        events=events,
        peak_per_s=peak_per_s,
        cores={kind: peak_per_s * s / 1e6 / BUSY for kind, s in found.cpu_s.items()},
        redis_gb=events / DAY_S * generation_s() * GENERATIONS * found.claim_bytes / _GB,
        log_tb=events * found.log_bytes * LOG_DAYS * REPLICAS / _TB,
        slice_tb=events * found.slice_bytes * SLICE_DAYS * REPLICAS / _TB,
        series=series,
        usage_rows=rows,
        usage_gb=rows * found.usage_row_bytes / _GB,
        usage_kept_tb=rows * found.usage_row_bytes * LOG_DAYS / _TB,
        drafts_gb=series * found.line_bytes / _GB,
        sealed_gb_a_month=series * found.sealed_line_bytes / _GB,
    )


@dataclass(frozen=True, slots=True)
class Wall:
    """Events a day at which something is at its end, and what is done about it."""

    events: float
    what: str
    then: str


def walls(found: Measured) -> list[Wall]:
    """Return the ends of each part as it stands, the nearest first."""
    one = needs(found, 10**9)
    parts = PRODUCTION_PARTITIONS
    servers = one.cores
    limits = [
        (
            one.cores["postgres"] / POSTGRES_NODE_CORES,
            f"one Postgres node of {POSTGRES_NODE_CORES} cores",
            "partition its tables by customer hash; a database for each range of partitions",
        ),
        (
            servers["metering"] / parts,
            f"one metering core for each of {parts} partitions",
            "a log of more partitions (a copy aligned at a tick); agents aggregate beforehand",
        ),
        (
            servers["pricing"] / parts,
            f"one pricing core for each of {parts} partitions",
            "a log of more partitions; gather longer before a flush",
        ),
        (
            one.redis_gb / REDIS_NODE_GB,
            f"claims in one Redis of {REDIS_NODE_GB} GB",
            f"a cluster of up to {parts} nodes, a slot for each partition",
        ),
        (
            one.redis_gb / (REDIS_NODE_GB * parts),
            f"claims in {parts} Redis nodes of {REDIS_NODE_GB} GB",
            "send in sequence (no claims at all), a shorter horizon, more partitions",
        ),
    ]
    found_walls = [Wall(1e9 / share, what, then) for share, what, then in limits if share > 0]
    return sorted(found_walls, key=lambda wall: wall.events)
