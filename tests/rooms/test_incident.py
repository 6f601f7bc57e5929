"""An incident: which facts were wrong, what stood before them, how the way back goes."""

from dataclasses import replace
from typing import Any

import pytest

from builders import (
    T0,
    Decision,
    fact_log,
    facts,
    flat,
    instant,
    issuer_of,
    log_of,
    plan_of,
    price_of,
    rules_of,
)
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.planning import as_written
from pipeline.catalog.rate_cards import card_body
from pipeline.core.calendar import SECOND
from pipeline.core.identity import Json
from pipeline.replay.incident import (
    Incident,
    Step,
    checked_name,
    incidents,
    opened,
    rollback,
    stepped,
    without,
    wrong_facts,
)


def basic(amount: str) -> Decision:
    return plan_of("basic", price_of("fee", flat(amount)))


def other(amount: str) -> Decision:
    return plan_of("other", price_of("fee", flat(amount)))


def timed(*decisions: Decision) -> list[Fact]:
    """Facts, one a second."""
    found = facts(log_of(), rules_of(), issuer_of(), *decisions)
    return [replace(fact, recorded_at=T0 + fact.serial * SECOND) for fact in found]


FIRST = 4
"""The serial of what `timed` is given first."""


def at(serial: int) -> int:
    return T0 + serial * SECOND


def amounts(bodies: Any) -> list[str]:
    return [body["prices"][0]["price"]["amount"] for body in bodies]


def test_what_was_said_meanwhile_was_wrong_and_nothing_else() -> None:
    known = timed(basic("1"), other("1"), basic("10"), other("2"), basic("11"), basic("2"))

    serials = [fact.serial for fact in wrong_facts(known, at(6), at(9), ["basic"])]

    assert serials == [6, 8]
    assert [f.serial for f in wrong_facts(known, at(6), None, [])] == [6, 7, 8, 9]


@pytest.mark.parametrize(
    ("since", "subjects", "why"),
    [
        (at(90), [], "no price was changed since 2026-03-01T00:01:30Z"),
        (at(6), ["other"], "nothing was said of other then"),
        (at(1), ["other"], "plan other is new in fact 5: nothing stood before it"),
        (at(1), [], "issuer talea is new in fact 3"),
    ],
)
def test_what_cannot_be_an_incident_is_refused_in_words(
    since: int, subjects: list[str], why: str
) -> None:
    known = timed(basic("1"), other("1"), basic("10"))

    with pytest.raises(ValueError, match=why):
        wrong_facts(known, since, None, subjects)


def test_what_had_a_day_of_its_own_is_not_put_back_by_guess() -> None:
    dated = (*basic("5")[:2], {**basic("5")[2], "effective": "2026-03-02T00:00:00Z"})
    known = timed(basic("1"), dated, basic("10"))

    with pytest.raises(ValueError, match="plan basic had a day of its own before"):
        wrong_facts(known, at(6), None, [])


def incident(*wrong: int, diff_id: str | None = None) -> Incident:
    steps = {}
    if diff_id is not None:
        told = stepped("INC-7", Step.CREDITED, diff_id=diff_id)
        steps[Step.CREDITED] = Fact(90, "f", told.kind, told.subject, told.body, "", "", T0)
    return Incident("INC-7", wrong, steps)


def test_a_world_without_it_has_at_each_wrong_place_what_stood_before() -> None:
    known = timed(basic("1"), other("3"), basic("10"), other("4"), basic("11"), basic("2"))

    found = without(known, incident(6, 8))

    assert sorted(found) == [6, 8]
    assert amounts(found.values()) == ["1", "1"]


def test_nor_are_its_own_notes_in_that_world_but_all_others_are() -> None:
    change: Json = {"lines": ["something"], "taxes": []}
    repriced: list[Decision] = [
        (FactKind.REPRICING, f"inv_{name}", {"reference": name, "change": change})
        for name in ("diff_1", "diff_2")
    ]
    known = timed(basic("1"), basic("10"), *repriced)

    found = without(known, incident(5, diff_id="diff_2"))

    assert found[7]["change"] == {"lines": [], "taxes": []}
    assert 6 not in found


@pytest.mark.parametrize(
    ("said", "wrong", "back"),
    [
        (["1", "10"], [5], ["1"]),
        (["1", "10", "11"], [5, 6], ["1"]),
        (["1", "10", "11"], [5], []),
        (["1", "10", "1"], [5], []),
    ],
)
def test_rolling_back_says_once_more_what_stood(
    said: list[str], wrong: list[int], back: list[str]
) -> None:
    """Where somebody said something since, that stays."""
    known = timed(*map(basic, said))

    assert amounts([new.body for new in rollback(known, incident(*wrong))]) == back


def from_day(amount: str, day: str) -> Decision:
    kind, subject, body = basic(amount)
    return kind, subject, {**body, "effective": f"{day}T00:00:00Z"}


@pytest.mark.parametrize("wrong", [basic("10"), from_day("10", "2026-04-01")])
def test_what_is_to_come_on_a_day_does_not_hide_what_is_wrong_until_then(wrong: Decision) -> None:
    known = timed(basic("1"), wrong, from_day("2", "2026-06-01"), from_day("3", "2026-07-01"))

    back = rollback(known, incident(5))

    log = fact_log(*[(f.kind, f.subject, dict(f.body)) for f in known])
    after = as_written(log.at(log.head), back).plans["basic"]
    told = [
        (day, amounts([{"prices": [card_body(each) for each in plan.prices]}]))
        for day, _, plan in after.spans()
    ]
    assert told == [
        (instant("2026-07-01T00:00:00Z"), ["3"]),
        (instant("2026-06-01T00:00:00Z"), ["2"]),
        (None, ["1"]),
    ]
    last = [replace(known[3], serial=100 + n, body=new.body) for n, new in enumerate(back)]
    assert rollback([*known, *last], incident(5)) == []


def test_facts_alone_say_how_far_an_incident_is() -> None:
    known = timed(basic("1"), basic("10"))
    told: list[NewFact] = [
        opened("INC-7", known[-1:]),
        stepped("INC-7", Step.ROLLED_BACK),
        opened("INC-8", known[-1:]),
        stepped("INC-7", Step.CREDITED, diff_id="diff_1"),
    ]
    known += [
        Fact(9 + n, f"f{n}", new.kind, new.subject, new.body, "ada", "test", T0)
        for n, new in enumerate(told)
    ]

    found = incidents(known)

    assert {name: each.step for name, each in found.items()} == {
        "INC-7": Step.CREDITED,
        "INC-8": Step.OPENED,
    }
    assert (found["INC-7"].wrong, found["INC-7"].diff_id) == ((5,), "diff_1")
    assert (found["INC-7"].replay, found["INC-8"].diff_id) == ("incident_inc_7", None)


@pytest.mark.parametrize("name", ["", "7", "INC 7", "inc_7", "a" * 21])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of an incident: a letter first"):
        checked_name(name)
