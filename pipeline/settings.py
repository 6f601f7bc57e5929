"""Settings: addresses, names and tuning. Nothing here can change a result.

Read from the environment (`TALEA_KAFKA=host:9092`). What decides an outcome (horizon,
tolerance, partition count, grace) is a fact; `partitions`, `horizon_s` and `tolerance_s` only
fill the first fact of a new log.
"""

from decimal import Decimal
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.core.errors import BadInput
from pipeline.topology import EMBEDDED_PARTITIONS, Stack


class Settings(BaseSettings):
    """Everything that may differ from one machine to the next."""

    model_config = SettingsConfigDict(env_prefix="TALEA_", frozen=True, extra="ignore")

    home: Path = Path(".talea")
    """Where all state lies."""
    kafka: str | None = None
    """Bootstrap servers of a broker to use instead of the embedded one."""
    redis: str | None = None
    """URL of a Redis to use instead of the embedded one."""
    postgres: str | None = None
    """libpq URI of a database to use instead of the embedded one."""
    registry: str | None = None
    """URL of a schema registry: what outsiders wrote under its ids can then be read. One log, one
    registry: every worker and `talea verify` must name the same."""
    signing_key: Path | None = None
    """A file with the Ed25519 key (PEM) that signs checkpoints, instead of the home's own."""
    tax_engine: str | None = None
    """URL of an outside tax engine, for issuers whose catalog leaves taxes to one."""
    tax_engine_s: float = Field(5.0, gt=0)
    """Seconds that it may take to answer one question."""
    tax_engine_tries: int = Field(3, ge=1)
    """How often a question is sent in one go, where it does not answer."""
    prefix: str = ""
    """Before every topic, group and key: one tenant."""
    tenant_schema: str = "talea"
    """Postgres schema of the tenant."""
    replay: str = ""
    """Name of a replay, for its workers: they work on the shadow of the tenant, not on it."""
    replay_copies: bool = False
    """Whether that replay is of its own copy of the usage log."""
    replication: int = 1
    """Replication factor of topics that we create."""

    partitions: int = Field(EMBEDDED_PARTITIONS, ge=1, le=4096)
    """Partition count of a new log."""
    horizon_s: int = Field(3 * 86_400, ge=1)
    """How late usage of a new log may be."""
    tolerance_s: int = Field(300, ge=0)
    """How far ahead of log time usage of a new log may be."""

    tick_s: float = Field(5.0, gt=0)
    """Seconds between ticks."""
    metering_lead: int = Field(2_000, ge=1)
    """Messages that metering may lead the books by, per partition."""
    books_wait_s: float = Field(30.0, gt=0)
    """Seconds that a partition's books may stand still at that lead before it is held, alone."""
    flush_s: float = Field(0.3, gt=0)
    """How long the pricing worker gathers slices; meanwhile it rates."""
    flush_records: int = Field(500, ge=1)
    """Records of slices that end a flush early."""
    reject_share_max: Decimal = Field(Decimal("0.5"), gt=0, le=1)
    """Share of rejected events above which a partition pauses, to be looked at."""
    reject_window_events: int = Field(10_000, ge=1)
    """Offered events of a partition that the share is taken of."""
    publish_s: float = Field(0.1, gt=0)
    """How long the publisher rests when nothing changed."""
    retention_years: int = Field(7, ge=1)
    """How long contents of issued documents are kept; `talea retention` removes older ones."""
    audit_s: float = Field(60.0, ge=0)
    """Seconds between the finalizer's looks at the conservation equation; 0: never."""
    heal_after_s: float = Field(5.0, ge=0)
    """Seconds that a gap in the chain of slices stays before it is mended by itself; 0: never."""
    stall_s: float = Field(60.0, ge=0)
    """Seconds without a commit, while records wait, after which a metering worker ends; 0: never.
    """
    collector_linger_s: float = Field(0.2, gt=0)
    """How long the collector lets an event wait for others before it sends a batch."""
    session_s: float = Field(12.0, gt=1)
    """After how long a silent metering worker loses its partitions, a silent ticker the lead."""

    @property
    def stack(self) -> Stack:
        """The tenant's names, or those of its shadow."""
        tenant = Stack(self.prefix, self.tenant_schema)
        return tenant.shadow(self.replay, copies=self.replay_copies) if self.replay else tenant

    @property
    def own_key(self) -> Path:
        """Where the home keeps a key of its own."""
        return self.home / "signing.key"


def read_settings() -> Settings:
    """Return the settings.

    Raises:
        BadInput: one has a value that it cannot have, named.

    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "TALEA_" + "_".join(str(part) for part in first["loc"]).upper()
        raise BadInput(f"{name}: {first['msg']} (got {first['input']!r})") from None
