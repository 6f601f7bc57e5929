"""Rewinding: the metering group reads from an earlier place again, and no total moves.

Owns: stop -> set back -> let go -> wait until it is through again.
Does not own: which offsets (replay/rewind.py), the standstill (stores/postgres/standstill.py).
Law: safe at any time, under load, twice, with nothing running: the cursor decides, not the group.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, sleep

from pipeline.book.booking import Cursor
from pipeline.core.errors import ServerFailed
from pipeline.replay.rewind import Rewound, Target, target
from pipeline.stores.groups import group_offsets
from pipeline.stores.kafka import log_ends, read_range, usage_log
from pipeline.stores.kept_claims import forget_claims
from pipeline.workers.healing import metering_came_back, metering_members, set_back
from pipeline.workers.surroundings import Surroundings

Tell = Callable[[str, float | None], None]
"""Called with what is going on and how much of it is done, for a person."""

_POLL_S = 0.2
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rewind did: whether workers went over it again, keys of claims forgotten."""

    partitions: Sequence[Rewound]
    running: bool
    claims: int
    seconds: float

    @property
    def unmoved(self) -> bool:
        """Whether no total moved, save by what arrived."""
        return all(one.unmoved for one in self.partitions)


def targets(
    around: Surroundings, partitions: Sequence[int], offset: int | None, time: int | None
) -> list[Target]:
    """Return where to go back to: an offset, or the last tick before a time.

    Raises:
        BadInput: an offset that the log or the books do not allow.

    """
    kept = log_ends(around.kafka, usage_log(around.stack), around.partitions)
    found = []
    with around.database.session("rewind") as connection:
        cursors = connection.load_cursors()
        for number in partitions:
            booked = cursors[number][0].offset if number in cursors else -1
            first, wanted = kept[number][0], offset
            if wanted is None:
                wanted = max(first, connection.offset_at(number, time or 0))
            found.append(target(number, wanted, first, booked))
    return found


def rewind(
    around: Surroundings, wanted: Sequence[Target], tell: Tell, *, claims: bool = False
) -> Outcome:
    """Set partitions back, and return once they were read again (where workers run).

    Raises:
        ServerFailed: a worker does not stop, or does not come back.

    """
    started = monotonic()
    running = metering_members(around) > 0
    before = _cursors(around)
    forgotten = 0
    tell("asking metering to stand still", None)
    with around.database.session("standstill") as connection, connection.hold_metering():
        offsets = {one.partition: one.offset for one in wanted}
        set_back(around, offsets, lambda text: tell(text, None))
        if claims:
            forgotten = forget_claims(around.redis, around.stack, sorted(offsets))
    running = running and metering_came_back(around, lambda text: tell(text, None))
    if running:
        _await_through(around, wanted, tell)
    after = _cursors(around)
    return Outcome(
        [_rewound(around, one, before, after) for one in wanted],
        running,
        forgotten,
        monotonic() - started,
    )


def _cursors(around: Surroundings) -> dict[int, Cursor]:
    with around.database.session("rewind") as connection:
        return {number: cursor for number, (cursor, _) in connection.load_cursors().items()}


def _await_through(around: Surroundings, wanted: Sequence[Target], tell: Tell) -> None:
    """Return once the group stands behind everything that the books had before."""
    numbers = [one.partition for one in wanted]
    of = sum(one.behind for one in wanted)
    moved, deadline = -1, monotonic() + _PATIENCE_S
    while True:
        stands = group_offsets(
            around.kafka, around.stack.metering_group, usage_log(around.stack), numbers
        )
        left = sum(max(0, one.booked + 1 - stands[one.partition]) for one in wanted)
        if not left:
            return
        if of - left > moved:
            moved, deadline = of - left, monotonic() + _PATIENCE_S
        elif monotonic() > deadline:
            raise ServerFailed(
                f"metering does not go on: {left} messages are left to read again; is a metering"
                " worker running? (the group is set back; nothing is lost)"
            )
        tell(f"reading again: {of - left:,} of {of:,} messages", (of - left) / of)
        sleep(_POLL_S)


def _rewound(
    around: Surroundings, one: Target, before: Mapping[int, Cursor], after: Mapping[int, Cursor]
) -> Rewound:
    number = one.partition
    stood = before.get(number) or Cursor(number)
    stands = after.get(number) or Cursor(number)
    log = usage_log(around.stack)
    records = read_range(around.kafka, log, number, stood.offset + 1, stands.offset + 1)
    arrived = sum(1 if r.event_count is None else r.event_count for r in records)
    return Rewound(one, stood.counts, stands.counts, arrived)
