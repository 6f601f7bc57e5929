"""Prepaid credits, held against an oracle that pays coin by coin.

The oracle knows a credit as a heap of single minor units, each of which looks for a minor unit of
a line that it may pay. It shares no step with the settlement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog.credits import Grant
from pipeline.core.calendar import DAY, Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.invoice.settling import added, balances, settle, settle_all, taken_by

T0 = parse_instant("2026-03-01T00:00:00Z")
METERS, PLANS, CURRENCIES, ISSUERS = (
    ("calls", "bytes"),
    ("basic", "pro"),
    ("EUR", "USD"),
    ("a", "b"),
)


@dataclass(frozen=True)
class Charge:
    """A line: what it charges, of what, and when it falls due."""

    minor: int
    meter: str | None
    plan: str
    due: Instant
    in_advance: bool


@dataclass(frozen=True)
class Paper:
    """A document."""

    issuer: str
    currency: str
    charges: Sequence[Charge]

    @property
    def total(self) -> int:
        return sum(charge.minor for charge in self.charges)

    def content(self) -> dict[str, Json]:
        """The document as far as a settlement reads it."""
        return {
            "issuer": self.issuer,
            "currency": self.currency,
            "totals": {"total_minor": self.total},
            "lines": [
                {
                    "meter": charge.meter,
                    "rate_card": {"plan": charge.plan},
                    "invoice_at": instant_text(charge.due),
                    "source_type": "subscription_item",
                    "payment_term": "in_advance" if charge.in_advance else "in_arrears",
                    "totals": {"total_minor": charge.minor},
                }
                for charge in self.charges
            ],
        }


days = st.integers(0, 6).map(lambda day: T0 + day * DAY)
near = st.tuples(days, st.sampled_from([-1, 0, 1])).map(sum)  # about the very edge of a day
charges = st.builds(
    Charge,
    st.integers(-6, 12),
    st.sampled_from([*METERS, None]),
    st.sampled_from(PLANS),
    days,
    st.booleans(),
)
papers = st.builds(
    Paper,
    st.sampled_from(ISSUERS),
    st.sampled_from(CURRENCIES),
    st.lists(charges, max_size=5),
)


@st.composite
def credits(draw: st.DrawFn) -> list[Grant]:
    """Credits of one customer, in the order of their facts."""
    found = []
    for position in range(draw(st.integers(0, 5))):
        starts = draw(near)
        lasts = draw(st.none() | st.integers(1, 5 * DAY))
        found.append(
            Grant(
                id=f"c{position}",
                customer="acme",
                issuer=draw(st.sampled_from(ISSUERS)),
                currency=draw(st.sampled_from(CURRENCIES)),
                amount_minor=draw(st.integers(1, 20)),
                starts=starts,
                expires=None if lasts is None else starts + lasts,
                priority=draw(st.integers(0, 2)),
                meters=tuple(draw(st.lists(st.sampled_from(METERS), max_size=1))),
                plans=tuple(draw(st.lists(st.sampled_from(PLANS), max_size=1))),
                position=position,
                voided=draw(st.booleans()) and draw(st.booleans()),
            )
        )
    return found


class Purse:
    """Coins, each of one credit."""

    def __init__(self, grants: Sequence[Grant]) -> None:
        """Fill it; those that pay first lie on top."""
        far = parse_instant("2099-01-01T00:00:00Z")
        ranked = [(g.priority, g.expires or far, g.position, g) for g in grants if not g.voided]
        ranked.sort(key=lambda rank: rank[:3])
        self.coins = [grant for *_, grant in ranked for _ in range(grant.amount_minor)]

    def pay(self, paper: Paper) -> dict[str, int]:
        """Pay a document coin by coin; return how many coins of which credit went."""
        owed = [max(0, charge.minor) for charge in paper.charges]
        most, went, kept = max(0, paper.total), dict[str, int](), list[Grant]()
        for coin in self.coins:
            place = self._place(coin, paper, owed) if most else None
            if place is None:
                kept.append(coin)
                continue
            owed[place] -= 1
            most -= 1
            went[coin.id] = went.get(coin.id, 0) + 1
        self.coins = kept
        return went

    @staticmethod
    def _place(coin: Grant, paper: Paper, owed: Sequence[int]) -> int | None:
        if (coin.issuer, coin.currency) != (paper.issuer, paper.currency):
            return None
        for place, charge in enumerate(paper.charges):
            moment = charge.due if charge.in_advance else charge.due - 1
            begun, over = coin.starts <= moment, coin.expires is not None and coin.expires <= moment
            if not owed[place] or not begun or over:
                continue
            if coin.meters and charge.meter not in coin.meters:
                continue
            if coin.plans and charge.plan not in coin.plans:
                continue
            return place
        return None


@given(st.lists(papers, max_size=6), credits())
def test_credits_pay_what_single_coins_would(issued: list[Paper], grants: list[Grant]) -> None:
    purse, spent = Purse(grants), dict[str, int]()
    for paper in issued:
        settlement = settle(paper.content(), grants, spent)

        assert dict(settlement.credits) == purse.pay(paper)
        spent = added(spent, settlement.json())
    assert settle_all((paper.content() for paper in issued), grants, {}) == [
        settle(paper.content(), grants, _spent_before(issued, grants, place))
        for place, paper in enumerate(issued)
    ]


def _spent_before(issued: list[Paper], grants: list[Grant], place: int) -> Mapping[str, int]:
    spent = dict[str, int]()
    for settlement in settle_all((p.content() for p in issued[:place]), grants, {}):
        spent = added(spent, settlement.json())
    return spent


@given(st.lists(papers, max_size=6), credits())
def test_nothing_falls_below_zero(issued: list[Paper], grants: list[Grant]) -> None:
    settled = settle_all((paper.content() for paper in issued), grants, {})
    spent = dict[str, int]()
    for paper, settlement in zip(issued, settled, strict=True):
        assert settlement.total_minor == paper.total
        assert min(0, paper.total) <= settlement.due_minor <= paper.total
        assert all(amount > 0 for _, amount in settlement.credits)
        spent = added(spent, settlement.json())
    for grant in grants:
        assert 0 <= spent.get(grant.id, 0) <= grant.amount_minor
        assert not (grant.voided and grant.id in spent)
    assert sum(spent.values()) == sum(
        p.total - s.due_minor for p, s in zip(issued, settled, strict=True)
    )


@given(st.lists(papers, max_size=4), credits(), st.randoms())
def test_the_order_credits_are_told_in_makes_no_difference(
    issued: list[Paper], grants: list[Grant], random: object
) -> None:
    told = [*reversed(grants)]

    contents = [paper.content() for paper in issued]
    assert settle_all(contents, grants, {}) == settle_all(contents, told, {})


@given(st.lists(papers, min_size=1, max_size=5), credits(), st.data())
def test_what_a_document_took_is_not_taken_back_by_a_void(
    issued: list[Paper], grants: list[Grant], data: st.DataObject
) -> None:
    first = settle_all((p.content() for p in issued), grants, {})
    spent = dict[str, int]()
    for settlement in first:
        spent = added(spent, settlement.json())
    after = [replace(grant, voided=True) for grant in grants]

    again = settle_all((p.content() for p in issued), after, spent)
    assert all(settlement.credits == () for settlement in again)
    for each in balances(after, spent, [], T0):
        assert (each.state, each.left_minor) == ("voided", 0)
        assert each.used_minor == spent.get(each.grant.id, 0)


@given(st.lists(papers, max_size=5), credits())
def test_a_balance_is_what_was_granted_less_what_was_taken(
    issued: list[Paper], grants: list[Grant]
) -> None:
    half = len(issued) // 2
    spent = _spent_before(issued, grants, half)
    found = {
        each.grant.id: each
        for each in balances(grants, spent, [p.content() for p in issued[half:]], T0)
    }
    whole = _spent_before(issued, grants, len(issued))

    assert {*found} == {grant.id for grant in grants}
    for grant in grants:
        each = found[grant.id]
        assert each.used_minor + each.on_drafts_minor == whole.get(grant.id, 0)
        if each.state in ("active", "not yet"):
            assert each.left_minor == grant.amount_minor - whole.get(grant.id, 0)


def test_a_settlement_reads_as_it_was_sealed() -> None:
    paper = Paper("a", "EUR", [Charge(700, "calls", "basic", T0 + DAY, False)])
    grant = Grant("c1", "acme", "a", "EUR", 500, T0)

    sealed = settle(paper.content(), [grant], {}).json()
    assert sealed == {"credits": [{"credit": "c1", "amount_minor": 500}], "due_minor": 200}
    assert taken_by(sealed) == [("c1", 500)]
    assert settle(paper.content(), [], {}).json() is None
