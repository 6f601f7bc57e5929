"""A draft retold with other usage is, to the byte, the one that would be composed of it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import (
    Decision,
    catalog_of,
    customer_of,
    document_edit_of,
    flat,
    graduated,
    issuer_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    sub_account_of,
    subscription_of,
    taxed_in,
)
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.periods import closings
from pipeline.core.identity import Json, canonical
from pipeline.invoice.compose import compose
from pipeline.invoice.lines import document_id_of
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.planned import planned_lines
from pipeline.invoice.published import NO_ISSUES, DraftPosition, DraftText
from pipeline.invoice.retold import Moulds
from pipeline.invoice.usage import UsagePart

Told = Sequence[tuple[int, int]]
"""What was used of each meter: mantissa and scale."""

PACKAGE: dict[str, Json] = {
    "type": "package",
    "package_size": "10",
    "package_amount": "2.50",
    "free_units": "5",
    "rounding": "up",
}
VOLUME: dict[str, Json] = {
    "type": "volume",
    "tiers": [
        {"up_to": "100", "unit_amount": "0.03", "flat_amount": "1"},
        {"up_to": None, "unit_amount": "0.007", "flat_amount": "0"},
    ],
}
PERCENTAGE: dict[str, Json] = {"type": "percentage", "rate_percent": "2.9"}
PLAIN = {
    "unit": per_unit("0.0001"),
    "graduated": graduated(("10", "1", "0"), ("100", "0.333", "5"), (None, "0.1", "0")),
    "volume": VOLUME,
    "package": PACKAGE,
}
FEE = price_of("fee", flat("19.99"))
PARTICULAR: dict[str, dict[str, Json]] = {
    "discounted": price_of(
        "off", per_unit("0.5"), "calls", discounts=[{"type": "percentage", "percent": "33"}]
    ),
    "at least": price_of("least", per_unit("0.5"), "calls", minimum="40"),
    "in groups": price_of("groups", per_unit("0.5"), "calls", group_by=["region"]),
    "by percent": price_of("percent", PERCENTAGE, "calls"),
}


def shop(
    *prices: dict[str, Json], issuer: Decision | None = None, more: Sequence[Decision] = ()
) -> Catalog:
    """A catalog in which acme has all of these prices."""
    return catalog_of(
        log_of(),
        rules_of(),
        issuer or issuer_of(),
        meter_of("calls", unit='100 %s of "calls" {é}', dimensions=["region"]),
        meter_of("peak", "max"),
        plan_of("all", *prices),
        customer_of("acme", name="hidden"),
        subscription_of("s", "acme", "all", "2026-01-01T00:00:00Z"),
        *more,
    )


class Draft:
    """A draft of one payer that is made again and again."""

    def __init__(self, catalog: Catalog, payer: str = "acme", moulds: Moulds | None = None) -> None:
        (sold,) = catalog.subscriptions_paid_by(payer)
        (self.instant,) = closings(catalog, sold, sold.start, sold.start + 1)
        self.catalog, self.payer = catalog, payer
        self.lines: list[PlannedLine] = planned_lines(catalog, payer, "EUR", self.instant)
        self.retelling = (moulds or Moulds()).retelling(
            catalog, payer, "EUR", self.instant, self.lines
        )

    def retold(self, told: Told) -> bool:
        """Make it with this usage; return whether it was retold."""
        meters = {"calls": told[0], "peak": told[1]}
        usage = {
            request: [UsagePart(scale, 1, mantissa, mantissa, mantissa)]
            for request in (request for line in self.lines for request in line.requests())
            for mantissa, scale in [meters[request.meter]]
        }
        (composed,) = compose(self.catalog, self.payer, "EUR", self.instant, self.lines, usage)
        text = canonical(composed.content).decode()
        found = self.retelling.told(usage)
        if found is not None:
            assert found.text == text
            if self.retelling.shared:
                at = DraftPosition(0, 0, 0)
                filled = DraftText.told(at, found.hollow.template, found.told, NO_ISSUES)
                assert filled == DraftText.kept(at, text, NO_ISSUES)
        assert self.retelling.id == composed.content["id"]
        if found is None:
            self.retelling.hear(usage, [composed], [text])
        return found is not None


quantities = st.tuples(st.integers(-(10**6), 10**12), st.sampled_from((0, 0, 1, 3, 6)))
courses = st.lists(st.tuples(quantities, quantities), min_size=3, max_size=8)


@given(
    st.lists(st.tuples(st.sampled_from([*PLAIN]), st.sampled_from(["calls", "peak"])), max_size=3),
    st.lists(st.sampled_from([*PARTICULAR]), max_size=1),
    st.booleans(),
    st.sampled_from([issuer_of(), taxed_in(issuer_of(), "DE")]),
    courses,
)
def test_what_is_retold_is_what_would_be_composed(
    plain: list[tuple[str, str]],
    particular: list[str],
    fee: bool,
    issuer: Decision,
    course: list[Told],
) -> None:
    prices = [price_of(f"p{i}", PLAIN[price], meter) for i, (price, meter) in enumerate(plain)]
    prices += [PARTICULAR[name] for name in particular]
    if fee or not prices:
        prices.append(FEE)
    draft = Draft(shop(*prices, issuer=issuer))

    for told in course:
        draft.retold(told)


GROWS = [((used, 2), (used, 0)) for used in (100_001, 200_002, 300_003, 400_004)]


@pytest.mark.parametrize("name", PLAIN)
def test_plain_prices_beside_a_fee_are_retold_once_that_was_foretold(name: str) -> None:
    draft = Draft(shop(price_of("p", PLAIN[name], "calls"), FEE))

    assert [draft.retold(told) for told in GROWS] == [False, False, False, True]


def test_a_commitment_is_composed_though_what_it_covers_stood_still_so_far() -> None:
    spend = price_of("spend", flat("100"), covers=["peak"])
    draft = Draft(
        shop(
            price_of("calls", per_unit("1"), "calls"),
            price_of("peak", per_unit("1"), "peak"),
            spend,
        )
    )
    still = [((used, 0), (7, 0)) for used in (1, 2, 3, 4)]

    assert not any(draft.retold(told) for told in [*still, ((5, 0), (8, 0))])


@pytest.mark.parametrize("name", PARTICULAR)
def test_what_more_than_a_quantity_and_a_price_makes_is_composed(name: str) -> None:
    draft = Draft(shop(price_of("p", PLAIN["unit"], "calls"), PARTICULAR[name]))

    assert not any(draft.retold(told) for told in GROWS)


def test_a_taxed_draft_is_composed() -> None:
    draft = Draft(shop(price_of("p", PLAIN["unit"], "calls"), issuer=taxed_in(issuer_of(), "DE")))

    assert not any(draft.retold(told) for told in GROWS)


def test_the_same_usage_again_foretells_nothing_else() -> None:
    draft = Draft(shop(price_of("p", PLAIN["unit"], "calls")))

    told = [GROWS[0], GROWS[0], GROWS[0], GROWS[0], *GROWS[1:]]
    assert [draft.retold(each) for each in told] == [False, False, True, True, False, True, True]


def test_of_many_who_used_nothing_yet_all_but_three_are_retold() -> None:
    catalog = shop(price_of("p", PLAIN["unit"], "calls"), FEE, more=others(*OTHERS))
    moulds = Moulds()
    nothing = ((0, 0), (0, 0))
    drafts = [Draft(catalog, payer, moulds) for payer in ("acme", *OTHERS)]

    assert [draft.retold(nothing) for draft in drafts] == [False, False, False, True, True]


def test_a_tier_that_is_reached_is_composed_at_first() -> None:
    draft = Draft(shop(price_of("p", PLAIN["graduated"], "calls")))
    below = [((used, 0), (0, 0)) for used in (1, 2, 3, 4, 5)]

    assert [draft.retold(told) for told in below] == [False, False, False, True, True]
    assert [draft.retold(told) for told in GROWS] == [False, False, True, True]


OTHERS = ("globex", '100% "%s" {0}', "\x00\\é", "s")


def others(*names: str, start: str = "2026-01-31T13:00:00Z", **profile: str) -> list[Decision]:
    """Others on the same plan, from another day on; each in a subscription named as it is."""
    told = profile or {"name": "hidden"}
    return [
        decision
        for name in names
        for decision in (
            customer_of(name, **told),
            subscription_of(f"of-{name}", name, "all", start),
        )
    ]


@given(
    st.lists(st.tuples(st.sampled_from([*PLAIN]), st.sampled_from(["calls", "peak"])), max_size=3),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(("acme", *OTHERS)), quantities), min_size=6, max_size=20),
)
def test_of_many_on_equal_terms_each_is_retold_as_it_would_be_composed(
    plain: list[tuple[str, str]], fee: bool, course: list[tuple[str, tuple[int, int]]]
) -> None:
    prices = [price_of(f"p{i}", PLAIN[price], meter) for i, (price, meter) in enumerate(plain)]
    catalog = shop(*prices, *([FEE] if fee or not prices else []), more=others(*OTHERS))
    moulds = Moulds()
    drafts = {name: Draft(catalog, name, moulds) for name in ("acme", *OTHERS)}

    for name, used in course:
        drafts[name].retold((used, used))


@pytest.mark.parametrize("name", PLAIN)
def test_what_was_foretold_of_two_is_retold_of_all_on_their_terms(name: str) -> None:
    catalog = shop(price_of("p", PLAIN[name], "calls"), FEE, more=others(*OTHERS))
    moulds = Moulds()
    drafts = [Draft(catalog, payer, moulds) for payer in ("acme", "acme", *OTHERS)]

    told = [draft.retold(used) for draft, used in zip(drafts, [*GROWS, *GROWS], strict=False)]
    assert told == [False, False, False, True, True, True]


def test_what_nobody_else_was_foretold_by_is_not_told_of_others() -> None:
    catalog = shop(price_of("p", PLAIN["unit"], "calls"), more=others("globex"))
    moulds = Moulds()
    acme, globex = Draft(catalog, "acme", moulds), Draft(catalog, "globex", moulds)

    assert [acme.retold(told) for told in GROWS] == [False, False, False, True]
    assert [globex.retold(told) for told in GROWS] == [False, True, True, True]


UNLIKE: dict[str, Sequence[Decision]] = {
    "another profile": others("globex", name="other"),
    "a fee for less than a month": [
        customer_of("globex", name="hidden"),
        subscription_of("g", "globex", "all", "2026-01-05T00:00:00Z", end="2026-01-20T00:00:00Z"),
    ],
    "another plan, of the same prices": [
        plan_of("other", price_of("p", PLAIN["unit"], "calls"), FEE),
        customer_of("globex", name="hidden"),
        subscription_of("g", "globex", "other", "2026-01-01T00:00:00Z"),
    ],
    "three of the fee": [
        customer_of("globex", name="hidden"),
        subscription_of("g", "globex", "all", "2026-01-01T00:00:00Z", quantities={"fee": "3"}),
    ],
    "what is sold to a sub-account": [
        customer_of("globex", name="hidden"),
        sub_account_of("daughter", "globex"),
        subscription_of("g", "daughter", "all", "2026-01-01T00:00:00Z"),
    ],
    "edited by hand": [
        *others("globex"),
        document_edit_of(
            document_id_of("globex", "EUR", "2026-02-28T13:00:00Z", "talea"), "globex", memo="!"
        ),
    ],
}


@pytest.mark.parametrize("more", UNLIKE.values(), ids=UNLIKE)
def test_who_is_on_other_terms_has_another_mould(more: Sequence[Decision]) -> None:
    catalog = shop(price_of("p", PLAIN["unit"], "calls"), FEE, more=more)
    moulds = Moulds()
    acme, globex = Draft(catalog, "acme", moulds), Draft(catalog, "globex", moulds)

    assert [acme.retold(told) for told in GROWS] == [False, False, False, True]
    assert [globex.retold(told) for told in GROWS] == [False, False, False, True]


def test_moulds_go_with_the_last_on_their_terms() -> None:
    moulds = Moulds()
    catalog = shop(price_of("p", PLAIN["unit"], "calls"))
    draft = Draft(catalog, "acme", moulds)
    assert [draft.retold(told) for told in GROWS] == [False, False, False, True]
    del draft

    again = Draft(catalog, "acme", moulds)
    assert [again.retold(told) for told in GROWS] == [False, False, False, True]
