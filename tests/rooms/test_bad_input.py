"""The door of the log: each kind of message that lies is told by code and path, and kept."""

import pytest

from builders import T0, arrival, ground, keyed, usage
from pipeline.collect import limits
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.event import Refused, checked_dimensions
from pipeline.collect.letters import DeadLetter
from pipeline.core.identity import canonical
from pipeline.meter.place import Told, look
from pipeline.meter.slices import Counts
from pipeline.stores.codec import decode
from pipeline.stores.records import encode_letter, open_message
from spoiled import SPOILED

BATCH = keyed(*(usage(id=str(n), meter="gigabytes", value="1.5") for n in range(3)))


@pytest.mark.parametrize("case", SPOILED)
def test_a_message_that_lies_is_refused_whole(case: str) -> None:
    spoil, code, path = SPOILED[case]
    message = spoil(BATCH)

    told = look(open_message(message), arrival(3), ground(), {})

    assert isinstance(told, Told)
    (refusal,) = told.refusals
    assert (refusal.rejection.code, refusal.rejection.path) == (code, path)
    assert refusal.event_count == 3
    assert told.piece.counts == Counts(offered=3, rejected=3)
    assert 0 < len(refusal.rejection.message) < 300
    letter = decode(encode_letter(DeadLetter("usage.events.v1", 0, 7, T0, told.refusals, message)))[
        1
    ]
    assert message.startswith(bytes(letter["message"]))  # type: ignore[call-overload]


def test_the_batch_they_are_made_of_is_good() -> None:
    assert isinstance(read_columns(BATCH), Columns)


@pytest.mark.parametrize("text", ["x", '"', "\\", "é", "鿿", "\U0001f40c"])
def test_dimensions_are_let_in_up_to_the_byte(text: str) -> None:
    """Escapes count as the two bytes they are, characters as their UTF-8."""
    most = {str(n): text * 50 for n in range(4)}
    for name in ("v", "w", "x", "y", "z"):
        room = limits.DIMENSIONS_BYTES_MAX - len(canonical({**most, name: ""}))
        if room >= 0:
            most[name] = "x" * min(room, 240)
    assert len(canonical(dict(most))) == limits.DIMENSIONS_BYTES_MAX

    assert checked_dimensions(most, "d") == most
    with pytest.raises(Refused, match="d are more than 1024 bytes"):
        checked_dimensions({**most, "v": most["v"] + "x"}, "d")
