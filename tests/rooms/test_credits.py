"""Prepaid credits: which may be granted, which pay what, in which order."""

from dataclasses import replace
from fractions import Fraction

import pytest

from builders import (
    T0,
    Decision,
    catalog_of,
    credit_of,
    customer_of,
    facts,
    issuer_of,
    log_of,
    meter_of,
    plan_of,
    rules_of,
    void_of,
)
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.credits import Grant
from pipeline.catalog.granting import amount_minor, granting, voiding
from pipeline.core.calendar import instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.invoice.settling import Settlement, added, balances, given_back, settle

END = parse_instant("2026-04-01T00:00:00Z")
BASE: list[Decision] = [
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls"),
    plan_of("basic"),
    customer_of("acme"),
]
GRANT = Grant("c1", "acme", "talea", "EUR", 500, T0, position=7)


def line(
    minor: int,
    meter: str | None = "calls",
    plan: str = "basic",
    *,
    advance: bool = False,
    order: bool = False,
) -> Json:
    """A line that falls due at the end of March."""
    return {
        "meter": meter,
        "rate_card": {"plan": plan},
        "invoice_at": instant_text(END),
        "payment_term": "in_advance" if advance else "in_arrears",
        "source_type": "order_line_item" if order else "subscription_item",
        "totals": {"total_minor": minor},
    }


def document(*lines: Json, currency: str = "EUR") -> dict[str, Json]:
    """A document of talea."""
    total = sum(each["totals"]["total_minor"] for each in lines)  # type: ignore[index,call-overload,misc]
    return {
        "issuer": "talea",
        "currency": currency,
        "totals": {"total_minor": total},
        "lines": list(lines),
    }


@pytest.mark.parametrize(
    ("grants", "paid"),
    [
        ({}, {}),
        ({"old": {}, "new": {}}, {"old": 500, "new": 200}),
        ({"old": {"priority": 1}, "new": {}}, {"new": 500, "old": 200}),
        ({"for ever": {}, "ends": {"expires": END}}, {"ends": 500, "for ever": 200}),
        ({"late": {"expires": END + 1}, "early": {"expires": END}}, {"early": 500, "late": 200}),
        ({"ends": {"expires": END, "priority": 2}, "other": {}}, {"other": 500, "ends": 200}),
        ({"gone": {"voided": True}, "left": {}}, {"left": 500}),
        ({"dollars": {"currency": "USD"}}, {}),
        ({"of another": {"issuer": "globex"}}, {}),
        ({"bytes": {"meters": ("bytes",)}}, {}),
        ({"calls": {"meters": ("calls", "bytes")}}, {"calls": 500}),
        ({"pro": {"plans": ("pro",)}}, {}),
        ({"basic": {"plans": ("basic",)}}, {"basic": 500}),
        ({"big": {"amount_minor": 9000}}, {"big": 700}),
    ],
)
def test_who_pays_a_document_of_seven_euros(
    grants: dict[str, dict[str, object]], paid: dict[str, int]
) -> None:
    known = [
        replace(GRANT, id=name, position=place, **terms)  # type: ignore[arg-type]
        for place, (name, terms) in enumerate(grants.items())
    ]

    settlement = settle(document(line(700)), known, {})
    assert dict(settlement.credits) == paid
    assert [*dict(settlement.credits)] == [*paid]  # in the order they pay
    assert settlement.due_minor == 700 - sum(paid.values())


@pytest.mark.parametrize(
    ("starts", "expires", "advance", "pays"),
    [
        (T0, END, False, True),  # March is over at the end: its last moment is before it
        (T0, END - 1, False, False),
        (END - 1, None, False, True),
        (END, None, False, False),
        (T0, END, True, False),  # a fee in advance is April's
        (T0, END + 1, True, True),
        (END, None, True, True),
        (END + 1, None, True, False),
    ],
)
def test_a_credit_is_alive_to_the_microsecond(
    starts: int, expires: int | None, advance: bool, pays: bool
) -> None:
    grant = replace(GRANT, starts=starts, expires=expires)

    settlement = settle(document(line(300, advance=advance)), [grant], {})
    assert settlement.credits == ((("c1", 300),) if pays else ())


@pytest.mark.parametrize(("starts", "pays"), [(END - 1, True), (END, True), (END + 1, False)])
def test_an_order_is_paid_by_what_is_alive_when_it_is_made(starts: int, pays: bool) -> None:
    grant = replace(GRANT, starts=starts)

    settlement = settle(document(line(300, order=True)), [grant], {})
    assert settlement.credits == ((("c1", 300),) if pays else ())


def test_a_credit_pays_only_what_is_left_of_it() -> None:
    assert settle(document(line(700)), [GRANT], {"c1": 450}).credits == (("c1", 50),)
    assert settle(document(line(700)), [GRANT], {"c1": 500}).credits == ()


def test_what_a_line_gives_back_is_not_paid_twice() -> None:
    settlement = settle(document(line(700), line(-400)), [GRANT], {})

    assert (settlement.credits, settlement.due_minor) == ((("c1", 300),), 0)


def test_a_document_that_gives_back_is_not_settled() -> None:
    settlement = settle(document(line(100), line(-400)), [GRANT], {})

    assert (settlement.credits, settlement.due_minor) == ((), -300)


def test_credits_for_one_meter_leave_the_others_to_those_behind_them() -> None:
    narrow = replace(GRANT, id="narrow", meters=("calls",))
    wide = replace(GRANT, id="wide", priority=1)

    settlement = settle(document(line(200, "bytes"), line(100)), [wide, narrow], {})
    assert settlement.credits == (("narrow", 100), ("wide", 200))


def test_the_catalog_knows_what_was_granted_and_what_was_voided() -> None:
    catalog = catalog_of(
        *BASE, credit_of("c1", "acme", "5.00"), credit_of("c2", "acme", "7", priority=3)
    )
    voided = extend(catalog, facts(*BASE, *[void_of("c1", "acme")] * 3)[8:])

    assert {name: g.amount_minor for name, g in catalog.deals.credits["acme"].items()} == {
        "c1": 500,
        "c2": 700,
    }
    assert [each.voided for each in catalog.deals.credits["acme"].values()] == [False, False]
    assert [each.voided for each in voided.deals.credits["acme"].values()] == [True, False]


def test_the_same_grant_and_the_same_void_are_one_fact() -> None:
    catalog = catalog_of(*BASE)
    (fact,) = granting(catalog, GRANT)
    granted = catalog_of(*BASE, (fact.kind, fact.subject, dict(fact.body)))
    (void,) = voiding(granted, "c1")
    gone = catalog_of(
        *BASE,
        (fact.kind, fact.subject, dict(fact.body)),
        (void.kind, void.subject, dict(void.body)),
    )

    assert granted.deals.credits["acme"] == {"c1": GRANT}
    assert granting(granted, GRANT) == []
    assert voiding(gone, "c1") == []


STANDING = catalog_of(*BASE, credit_of("c1", "acme", "5.00"))


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (replace(GRANT, customer="nobody"), "no customer nobody is in force: `talea catalog show"),
        (replace(GRANT, issuer="globex"), "no issuer globex is in force"),
        (replace(GRANT, meters=("calls", "byte")), "no meter byte is in force"),
        (replace(GRANT, plans=("gold",)), "no plan gold is in force"),
        (replace(GRANT, id="c9", expires=T0), "it expires before it starts: choose a later"),
        (replace(GRANT, amount_minor=1), "credit c1 stands already, with other terms: choose"),
    ],
)
def test_what_cannot_be_granted(wanted: Grant, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        granting(STANDING, wanted)


def test_what_is_no_credit_cannot_be_voided() -> None:
    with pytest.raises(ValueError, match="no credit c9: `talea credit list` shows all"):
        voiding(Catalog(), "c9")


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [("25", "EUR", 2500), ("0.01", "EUR", 1), ("7", "JPY", 7), ("1.234", "KWD", 1234)],
)
def test_an_amount_is_whole_minor_units(amount: str, currency: str, minor: int) -> None:
    assert amount_minor(Fraction(amount), currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency", "told"),
    [
        ("0", "EUR", "a credit is above zero"),
        ("-1", "EUR", "a credit is above zero"),
        ("0.001", "EUR", "EUR has 2 decimals"),
        ("0.5", "JPY", "JPY has 0 decimals"),
    ],
)
def test_what_is_no_amount(amount: str, currency: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        amount_minor(Fraction(amount), currency)


@pytest.mark.parametrize(
    ("terms", "spent", "state", "left"),
    [
        ({}, 0, "active", 200),  # 300 of 500 are on the draft
        ({}, 500, "used up", 0),
        ({"voided": True}, 100, "voided", 0),
        ({"expires": T0}, 100, "expired", 0),
        ({"expires": T0 + 1}, 500, "used up", 0),
        ({"starts": T0 + 1}, 0, "not yet", 200),
    ],
)
def test_a_balance_tells_what_became_of_a_credit(
    terms: dict[str, object], spent: int, state: str, left: int
) -> None:
    grant = replace(GRANT, **{"starts": T0 - 1, **terms})  # type: ignore[arg-type]

    (found,) = balances([grant], {"c1": spent}, [document(line(300))], T0)
    assert (found.state, found.left_minor, found.used_minor) == (state, left, spent)
    assert found.json()["left_minor"] == left


@pytest.mark.parametrize(
    ("void_minor", "back", "due"),
    [
        (-1000, [("c2", -300), ("c1", -500)], -200),  # 10.00, of which 8.00 were paid beforehand
        (-600, [("c2", -300), ("c1", -300)], 0),  # 4.00 went back in money before
        (-100, [("c2", -100)], 0),
        (0, [], 0),
    ],
)
def test_a_void_gives_back_what_credits_paid(
    void_minor: int, back: list[tuple[str, int]], due: int
) -> None:
    paid = Settlement(1000, (("c1", 500), ("c2", 300)))
    void: dict[str, Json] = {"totals": {"total_minor": void_minor}, "corrects": "inv_1"}

    given = given_back(void, paid.json())
    assert (list(given.credits), given.due_minor) == (back, due)
    assert added(added({}, paid.json()), given.json())["c2"] == 300 + dict(back).get("c2", 0)


def test_no_other_note_is_settled() -> None:
    note = {**document(line(500)), "corrects": "inv_1"}
    assert settle(note, [GRANT], {}).json() is None
