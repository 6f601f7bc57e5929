"""What is planned of one payer is said of another only where names alone tell them apart."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import NoReturn

import pytest

from builders import (
    Decision,
    book_of,
    catalog_of,
    customer_of,
    flat,
    hand_line_of,
    issuer_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    redemption_of,
    rules_of,
    subscription_of,
    switch_of,
)
from pipeline.catalog.catalog import Catalog
from pipeline.core.calendar import DAY, Instant, parse_instant
from pipeline.core.identity import Json, canonical
from pipeline.invoice.alike import Patterns, Planned
from pipeline.invoice.compose import compose
from pipeline.invoice.drafts import Closing, open_closings
from pipeline.invoice.fees import Reach
from pipeline.invoice.planned import Carried, planned_lines
from pipeline.invoice.retold import Moulds
from pipeline.invoice.usage import UsagePart

START = "2026-03-01T00:00:00Z"
NOW = parse_instant("2026-03-20T00:00:00Z")
LATER = parse_instant("2026-04-20T00:00:00Z")
TEN_PERCENT: dict[str, Json] = {"type": "percentage", "percent": "10"}
SHOP = (
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls", "count"),
    plan_of("basic", price_of("calls", per_unit("0.01"), "calls"), price_of("base", flat("5"))),
    plan_of("support", price_of("desk", flat("9"))),
    plan_of(
        "basic",
        price_of("calls", per_unit("0.02"), "calls"),
        price_of("base", flat("6")),
        effective="2026-03-11T00:00:00Z",
    ),
    customer_of("acme"),
    subscription_of("a", "acme", "basic", START),
)
GLOBEX = customer_of("globex")
SOLD = subscription_of("g", "globex", "basic", START)
HAND = hand_line_of("consulting", "globex", START, flat("120"))
PARTICULAR: Mapping[str, Sequence[Decision]] = {
    "another start": (GLOBEX, subscription_of("g", "globex", "basic", "2026-03-02T00:00:00Z")),
    "an end": (GLOBEX, subscription_of("g", "globex", "basic", START, "2026-03-15T00:00:00Z")),
    "another plan": (GLOBEX, subscription_of("g", "globex", "support", START)),
    "a price of its own": (
        GLOBEX,
        subscription_of(
            "g", "globex", "basic", START, prices=[price_of("calls", per_unit("0.001"), "calls")]
        ),
    ),
    "another quantity": (
        GLOBEX,
        subscription_of("g", "globex", "basic", START, quantities={"base": "3"}),
    ),
    "a pause": (
        GLOBEX,
        subscription_of(
            "g", "globex", "basic", START, pauses=[{"start": "2026-03-05T00:00:00Z", "end": None}]
        ),
    ),
    "the calendar's cycles": (
        GLOBEX,
        subscription_of("g", "globex", "basic", START, anchor="calendar"),
    ),
    "a trial": (
        GLOBEX,
        subscription_of("g", "globex", "basic", START, trial_end="2026-03-09T00:00:00Z"),
    ),
    "another zone": (customer_of("globex", "Asia/Tokyo"), SOLD),
    "another profile": (customer_of("globex", country="DE"), SOLD),
    "two subscriptions": (GLOBEX, SOLD, subscription_of("h", "globex", "support", START)),
    "none": (GLOBEX,),
    "a price book": (
        GLOBEX,
        SOLD,
        book_of("spring", basic=[price_of("calls", per_unit("0.5"), "calls")]),
        switch_of("spring", "0", "globex"),
    ),
    "a promotion": (GLOBEX, SOLD, redemption_of("TEN", "g", START, TEN_PERCENT)),
    "a line by hand": (GLOBEX, SOLD, HAND),
}


def planned(
    patterns: Patterns | None,
    catalog: Catalog,
    payer: str,
    log_time: Instant = NOW,
    carried: Mapping[str, Carried] | None = None,
) -> list[tuple[Closing, object, str, bool]]:
    """What a payer's documents will have; without `patterns` as it is worked out."""
    moulds = Moulds()
    reached = carried or {}

    def work_out() -> Sequence[Planned]:
        made: list[Planned] = []
        for closing in still_open:
            lines = planned_lines(catalog, payer, *closing, reached.get(closing[0]))
            made.append((closing, lines, moulds.retelling(catalog, payer, *closing, lines)))
        return made

    at = payer, log_time - 31 * DAY, log_time, ()
    if patterns is None:
        still_open = open_closings(catalog, *at)
        found: Sequence[Planned] = work_out()
    else:
        still_open = [*patterns.open(catalog, *at)]
        found = patterns.planned(catalog, payer, still_open, reached, work_out)
    return [(closing, [*lines], told.id, told.shared) for closing, lines, told in found]


@pytest.mark.parametrize("facts", PARTICULAR.values(), ids=PARTICULAR)
def test_whoever_is_not_alike_is_planned_by_itself(facts: Sequence[Decision]) -> None:
    catalog, patterns = catalog_of(*SHOP, *facts), Patterns(Moulds())

    for log_time in (NOW, LATER):
        for payer in ("acme", "globex", "acme"):
            alone = planned(None, catalog, payer, log_time)
            assert planned(patterns, catalog, payer, log_time) == alone


def test_who_is_alike_is_not_planned_again() -> None:
    catalog, patterns = catalog_of(*SHOP, GLOBEX, SOLD), Patterns(Moulds())
    (closing,) = [each for each, *_ in planned(patterns, catalog, "acme")]

    found = patterns.planned(catalog, "globex", [closing], {}, _nobody_asks)

    lines = planned_lines(catalog, "globex", *closing)
    assert [(at, [*own]) for at, own, _ in found] == [(closing, lines)]
    assert len(lines) > 2
    assert {line.key.subscription for line in lines} == {"g"}


def test_what_was_billed_of_each_is_left_out_of_its_lines() -> None:
    catalog, patterns = catalog_of(*SHOP, GLOBEX, SOLD), Patterns(Moulds())
    for name in ("a", "g"):
        billed = {"EUR": {(name, "calls"): Reach(parse_instant("2026-04-01T00:00:00Z"))}}
        payer = {"a": "acme", "g": "globex"}[name]
        for carried in ({}, billed):
            alone = planned(None, catalog, payer, LATER, carried)
            assert planned(patterns, catalog, payer, LATER, carried) == alone


def test_another_price_is_planned_anew() -> None:
    patterns = Patterns(Moulds())
    cheap, dear = (
        catalog_of(*SHOP, GLOBEX, SOLD, plan_of("basic", price_of("calls", per_unit(of), "calls")))
        for of in ("1", "9")
    )
    assert cheap.position == dear.position  # of two logs

    for catalog in (catalog_of(*SHOP, GLOBEX, SOLD), cheap, dear, cheap):
        for payer in ("acme", "globex"):
            assert planned(patterns, catalog, payer) == planned(None, catalog, payer)


def test_the_text_of_another_profile_is_its_own() -> None:
    others = customer_of("globex", country="DE"), SOLD
    like = customer_of("initech"), subscription_of("i", "initech", "basic", START)
    # Whose prices change within the period is composed every time.
    steady = [each for each in SHOP if "effective" not in each[2]]
    catalog, moulds = catalog_of(*steady, *others, *like), Moulds()
    patterns = Patterns(moulds)
    retold = set[str]()

    for count, payer in product((1, 1000, 20), ("acme", "initech", "globex")):
        closing = ("EUR", parse_instant("2026-04-01T00:00:00Z"))
        ((_, lines, retelling),) = patterns.planned(
            catalog, payer, [closing], {}, partial(_worked_out, catalog, payer, closing, moulds)
        )
        used = UsagePart(0, count, count, 1, 1)
        usage = {asked: [used] for line in lines for asked in line.requests()}
        composed = compose(catalog, payer, *closing, lines, usage)
        texts = [canonical(each.content).decode() for each in composed]
        told = retelling.told(usage)
        if told is not None:
            retold.add(payer)
            assert [told.text] == texts
        retelling.hear(usage, composed, texts)
    assert retold >= {"acme", "initech"}


def _worked_out(
    catalog: Catalog, payer: str, closing: Closing, moulds: Moulds
) -> Sequence[Planned]:
    lines = planned_lines(catalog, payer, *closing)
    return [(closing, lines, moulds.retelling(catalog, payer, *closing, lines))]


def _nobody_asks() -> NoReturn:
    raise AssertionError("it is planned though one like it was")
