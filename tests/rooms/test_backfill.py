"""A backfill is one unit: what it is called, whose events are its own, what becomes of each."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from builders import HOUR, T0, named, usage
from pipeline.catalog.facts import Fact, FactKind
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import DAY, SECOND, instant_text
from pipeline.core.errors import Code
from pipeline.core.identity import Json
from pipeline.meter.meters import Aggregation, Meter
from pipeline.replay.backfill import (
    Gathering,
    Stage,
    Units,
    checked_name,
    come_again,
    committed_fact,
    reverted_fact,
    unit_digest,
    why_not,
)
from pipeline.replay.foretold import Foretold, moves

WIDTH = 3 * DAY
METERS = {
    "calls": Meter("calls", Aggregation.COUNT, "call", HOUR),
    "peak": Meter("peak", Aggregation.MAX, "seat", HOUR),
    "spikes": Meter("spikes", Aggregation.MAX, "seat", HOUR, points=True),
}


@pytest.mark.parametrize("name", ["2026-03", "host-7.march_a", "a" * 64])
def test_a_name_that_is_one(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", "March", "-a", "a b", "a/b", "a" * 65])
def test_a_name_that_is_none_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a backfill: up to 64 small letters"):
        checked_name(name)


def gathered(*events: UsageEvent) -> tuple[Gathering, list[Code | None]]:
    found = Gathering()
    told = [found.take(event) for event in events]
    return found, [each.code if each else None for each in told]


def test_a_unit_has_each_key_once() -> None:
    one, other = usage(id="1"), usage(id="2", value="7")
    found, told = gathered(one, other, one, replace(one, value=one.value + 1))

    assert told == [None, None, None, Code.CONFLICT]
    assert ([*found.events.values()], found.repeats) == ([named(one), named(other)], 1)


def test_a_unit_takes_nothing_back() -> None:
    assert gathered(replace(usage(id="1"), reversed_at=T0))[1] == [Code.BAD_FIELD]


def test_the_same_events_are_the_same_unit_in_any_order() -> None:
    events = [named(usage(id=str(n))) for n in range(5)]

    assert unit_digest(events) == unit_digest(reversed(events))
    assert unit_digest(events) != unit_digest(events[1:])
    assert unit_digest(events) != unit_digest([*events[1:], named(usage(id="0", value="9"))])


@pytest.mark.parametrize(
    ("meter", "later", "why"),
    [
        ("calls", 0, None),
        ("spikes", 0, None),
        ("pages", 0, "no meter 'pages' is in force"),
        ("peak", 0, "meter peak is not reversible"),
        ("calls", 1, "its time is still ahead"),
    ],
)
def test_what_may_be_part_of_a_unit(meter: str, later: int, why: str | None) -> None:
    told = why_not(named(usage(meter=meter, time=T0 + later)), METERS, T0)

    assert (told or "").startswith(why or "")
    assert bool(told) == bool(why)


def fact(serial: int, kind: FactKind, subject: str, body: dict[str, Json]) -> Fact:
    return Fact(serial, f"fact-{serial}", kind, subject, body, "ada", "test", T0 + serial * SECOND)


def passed(serial: int, unit: str, hours: int) -> Fact:
    until = instant_text(T0 + hours * HOUR + WIDTH)
    return fact(serial, FactKind.GATE_PASS, "x", {"until": until, "backfill": unit})


def told(serial: int, unit: str, what: str) -> Fact:
    new = committed_fact(unit, "d", {"sent": 2}, 1500 * serial)
    if what == "reverted":
        new = reverted_fact(unit, {"matched": 2})
    return fact(serial, new.kind, new.subject, dict(new.body))


PASS, AGAIN = passed(1, "march", 0), passed(2, "march", 5)
COMMITTED, REVERTED = told(3, "march", "committed"), told(4, "march", "reverted")
ORDINARY = fact(5, FactKind.GATE_PASS, "x", {"until": instant_text(T0)})


@pytest.mark.parametrize(
    ("facts", "stage"),
    [
        ([], Stage.STAGED),
        ([ORDINARY], Stage.STAGED),
        ([PASS], Stage.BEGUN),
        ([PASS, AGAIN, COMMITTED], Stage.COMMITTED),
        ([COMMITTED], Stage.COMMITTED),
        ([PASS, COMMITTED, REVERTED], Stage.REVERTED),
        ([PASS, REVERTED], Stage.REVERTED),
    ],
)
def test_facts_alone_say_how_far_a_unit_is(facts: Iterable[Fact], stage: Stage) -> None:
    assert Units.after(facts, WIDTH).of("march").stage is stage


def test_a_unit_knows_between_which_log_times_it_was_sent() -> None:
    """One that died half-way began with its first pass, and ends with its last."""
    unit = Units.after([PASS, AGAIN, passed(6, "may", 90), COMMITTED], WIDTH).of("march")

    assert unit.passes == {"fact-1", "fact-2"}
    assert (unit.noted, unit.until) == (T0, T0 + 5 * HOUR + WIDTH)
    assert (unit.began, unit.took_ms) == (T0 + SECOND, 4500)


def test_how_long_backfills_take_is_the_median_of_those_committed() -> None:
    facts = [told(n, f"unit-{n}", "committed") for n in (1, 2, 9)]

    assert Units.after([*facts, PASS], WIDTH).median_ms == 3000
    assert Units.after([PASS], WIDTH).median_ms is None


def test_only_what_a_unit_that_was_taken_back_sent_may_come_again() -> None:
    units = Units.after([PASS, passed(2, "may", 0), COMMITTED, REVERTED], WIDTH)

    assert units.reverted_passes == {"fact-1": "march"}


def test_what_comes_again_has_one_new_key_for_everybody() -> None:
    event = named(usage(id="1"))
    again = come_again(event, "march")

    assert again == come_again(event, "march")
    assert len({event.key, again.key, come_again(again, "may").key}) == 3
    assert replace(again, key=event.key) == event


def content(customer: str, total: int, corrects: str = "") -> dict[str, Json]:
    document: dict[str, Json] = {
        "customer": customer,
        "currency": "EUR",
        "cut_instant": "2026-04-01T00:00:00Z",
        "issuer": "talea",
        "totals": {"total_minor": total},
    }
    return document | ({"corrects": corrects} if corrects else {})


def test_drafts_and_notes_of_one_cut_move_apart() -> None:
    before = [content("acme", 500), content("globex", 7), content("acme", 3, "inv_1")]
    after = [content("acme", 550), content("globex", 7), content("acme", -20, "inv_1")]
    after += [content("acme", 9, "inv_2")]

    found = Foretold(moves(before, after))

    assert [(m.corrects, m.before_minor, m.after_minor) for m in found.moved] == [
        ("", 500, 550),
        ("inv_1", 3, -20),
        ("inv_2", 0, 9),
    ]
    assert (found.totals, found.json()["customers_touched"]) == ({"EUR": 36}, 1)
