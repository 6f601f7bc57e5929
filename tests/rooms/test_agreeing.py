"""One more thing agreed: where it goes among what was agreed before, and what cannot be."""

from fractions import Fraction

import pytest

from builders import instant
from pipeline.catalog.agreeing import changed, ended, paused, period_end, resumed
from pipeline.catalog.subscriptions import Change, Pause, Subscription
from pipeline.core.calendar import DAY, instant_text
from rooms.test_subscriptions import april, books

DAY_1 = instant(april(1))
TWO, FIVE = {"seats": Fraction(2)}, {"seats": Fraction(5)}


def at(day: int) -> int:
    return DAY_1 + (day - 1) * DAY


def sold(*changes: Change, pauses: tuple[Pause, ...] = ()) -> Subscription:
    return Subscription("s", "acme", "starter", at(1), None, changes=changes, pauses=pauses)


def test_changes_stand_in_the_order_of_time() -> None:
    later = sold(Change(at(20), "pro"))

    assert changed(later, at(10), None, FIVE).changes == (
        Change(at(10), None, FIVE),
        Change(at(20), "pro"),
    )


def test_a_change_at_the_same_instant_adds_to_it() -> None:
    known = sold(Change(at(10), "pro", TWO))

    assert changed(known, at(10), None, FIVE).changes == (Change(at(10), "pro", FIVE),)
    assert changed(known, at(10), "yearly", {}).changes == (Change(at(10), "yearly", TWO),)


def test_a_pause_ends_where_it_is_resumed() -> None:
    once = paused(paused(sold(), at(20), None), at(5), at(8))

    assert once.pauses == (Pause(at(5), at(8)), Pause(at(20), None))
    assert resumed(once, at(25)).pauses == (Pause(at(5), at(8)), Pause(at(20), at(25)))
    assert resumed(once, at(7)).pauses[0] == Pause(at(5), at(7))


@pytest.mark.parametrize("day", [4, 5, 8, 9])
def test_who_is_not_paused_cannot_resume(day: int) -> None:
    with pytest.raises(ValueError, match=f"s is not paused at {instant_text(at(day))}: choose"):
        resumed(sold(pauses=(Pause(at(5), at(8)),)), at(day))


def test_nothing_is_no_change() -> None:
    with pytest.raises(ValueError, match="nothing to change of s: name a plan or a quantity"):
        changed(sold(), at(5), None, {})


def test_an_end_may_come_with_the_period() -> None:
    catalog = books(pauses=[{"start": april(11), "end": april(21)}])
    known = catalog.subscriptions["s"]

    assert ended(known, at(9)).end == at(9)
    assert period_end(catalog, known, at(9)) == at(11)  # where the pause begins
    assert period_end(catalog, known, at(21)) == at(31)
    with pytest.raises(ValueError, match="s is not served at"):
        period_end(catalog, known, at(15))
