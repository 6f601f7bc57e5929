"""Where a reader of a partition stands, message after message."""

from builders import GATE, MINUTE, T0, TICK_1, ground, keyed, sequenced, usage
from pipeline.core.errors import Code, Rejection
from pipeline.meter.place import NeedsTick, Opened, Place, look
from pipeline.meter.sift import Arrival, Sifted, delivery
from pipeline.meter.ticks import NO_TICK, Tick

SECOND_TICK = Tick(2, T0 + MINUTE, 4)
ROWS = {1: TICK_1, 2: SECOND_TICK}
RUBBISH = Rejection(Code.UNREADABLE, "", "rubbish")
AHEAD = keyed(usage(id="1", time=T0 + GATE.tolerance + 1))

Stand = tuple[int, int, int, int]
"""Offset, after, tick serial, log time since T0."""


def walked(place: Place, *messages: Opened) -> list[Stand]:
    """Where the reader stands after each message."""
    stands = []
    for opened in messages:
        count = 0 if isinstance(opened, Tick) else getattr(opened, "event_count", None)
        arrival = place.arrival(count, bytes(16))
        looked = look(opened, arrival, ground(), ROWS)
        assert not isinstance(looked, NeedsTick)
        claims = isinstance(looked, Sifted) and delivery(looked, arrival, 0, GATE) is not None
        place.pass_message(looked, claimed=claims)
        stands.append((place.offset, place.after, place.tick.serial, place.log_time - T0))
    return stands


def test_a_reader_from_the_start_of_a_log() -> None:
    story: list[Opened] = [
        RUBBISH,
        TICK_1,
        keyed(usage(id="1")),
        sequenced(0, usage()),
        keyed(usage(id="2", meter="unheard")),  # it claims nothing
        SECOND_TICK,
        TICK_1,
        keyed(usage(id="3")),
    ]

    assert walked(Place(0, 0), *story) == [
        (1, 0, 0, -T0),
        (2, 0, 1, 0),
        (3, 3, 1, 0),
        (4, 3, 1, 0),
        (5, 3, 1, 0),
        (6, 3, 2, MINUTE),
        (7, 3, 2, MINUTE),
        (8, 8, 2, MINUTE),
    ]


def test_a_batch_ahead_raises_log_time_before_its_tick_comes() -> None:
    place = Place(5, 3, TICK_1, T0)

    assert walked(place, AHEAD, keyed(usage(id="2")), RUBBISH, SECOND_TICK) == [
        (6, 6, 1, MINUTE),
        (7, 7, 1, MINUTE),
        (8, 7, 1, MINUTE),
        (9, 7, 2, MINUTE),
    ]


def test_a_message_arrives_where_the_reader_stands() -> None:
    place = Place(5, 3, TICK_1, T0 + 9)

    assert place.arrival(7, b"d" * 16) == Arrival(5, TICK_1, T0 + 9, 7, b"d" * 16)
    assert Place(0, 0) == Place(0, 0, NO_TICK, 0)
