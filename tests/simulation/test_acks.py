"""What the auditor of the simulation demands of acks."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from pipeline.simulate.group import Ack, Member
from pipeline.simulate.inquest import ack_faults

ONE = cast(Any, "one worker")
OTHER = cast(Any, "another")


def ack(offset: int, slices_there: int, by: Member = ONE, term: int = 1) -> Ack:
    return Ack(0, offset, slices_there, by, term)


@pytest.mark.parametrize(
    ("what", "slices", "acked", "faulty"),
    [
        ("each behind its slice", [0, 1, 2], [ack(0, 1), ack(1, 2), ack(2, 3)], False),
        ("one without its slice", [0, 1], [ack(0, 1), ack(1, 1)], True),
        ("one left out that has no slice", [0, 2, 1], [ack(0, 1), ack(2, 2)], True),
        ("one left out that others told of", [0, 1, 2], [ack(0, 3), ack(2, 3)], False),
        ("one twice in a term", [0, 1], [ack(0, 2), ack(0, 2)], True),
        ("one again in the next term", [0, 1], [ack(0, 2), ack(0, 2, term=2)], False),
        ("one again by another", [0, 1], [ack(1, 2), ack(0, 2, by=OTHER)], False),
        ("one before the last", [0, 1], [ack(1, 2), ack(0, 2)], True),
    ],
)
def test_an_ack_promises_its_slice_and_all_before_it(
    what: str, slices: Sequence[int], acked: Sequence[Ack], *, faulty: bool
) -> None:
    """`slices`: the offsets in the order in which their slices came."""
    first = {(0, offset): at for at, offset in enumerate(slices)}

    assert bool([*ack_faults(acked, first)]) is faulty, what
