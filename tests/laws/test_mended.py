"""Corrected exactly, by other prices too: once a diff is applied, usage is corrected by its prices.

The worlds of test_corrections.py, in which some day a replay by other prices is looked at, and what
differs is applied. Usage goes on coming late, and is taken back. In the end every document with its
notes is what a world of those prices from the first day on makes of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import HOUR, T0, fact_log, flat, graduated, keyed, per_unit, plan_of, price_of, usage
from builders import Decision as Decided
from laws.test_corrections import (
    COMMITMENTS,
    DECISIONS,
    EXAMPLES,
    STEP,
    STEPS,
    Sent,
    World,
    document_of,
    events,
)
from pipeline.catalog.corrections import Decision
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.catalog.mends import mended
from pipeline.core.identity import Json
from pipeline.invoice.totals import Totals
from pipeline.replay.applying import OtherPrices, families, mends, repricings
from pipeline.replay.diff import Pair, Selection


def priced(share: str, least: str) -> tuple[Decided, ...]:
    """The decisions of the law, with other prices of the plan."""
    plan = plan_of(
        "daily",
        price_of(
            "calls",
            graduated(("4", share, "0.50"), (None, "0.02", "0")),
            "calls",
            minimum=least,
            discounts=[{"type": "percentage", "percent": "7", "reason": "partner"}],
        ),
        price_of("regions", per_unit(share), "calls", group_by=["region"], maximum="0.31"),
        price_of("load", per_unit("0.0011"), "load"),
        price_of("peak", per_unit("1.3"), "peak"),
        price_of("seat", flat("4.44")),
        cycle="P1D",
    )
    return tuple(plan if each[0] is FactKind.PLAN else each for each in DECISIONS)


Stands = dict[str, dict[tuple[str, Json], Totals]]
"""What each line, of a meter, of each document comes to."""
PLAIN = DECISIONS
COMMITTED = tuple(
    (kind, name, {**body, "prices": [*cast(list[Json], body["prices"]), *COMMITMENTS]})
    if kind is FactKind.PLAN
    else (kind, name, body)
    for kind, name, body in DECISIONS
)
DEARER, CHEAPER = priced("0.55", "4.10"), priced("0.21", "0")


class Told:
    """A world in which usage comes when it came, and people apply what replays show."""

    def __init__(self, sent: Sequence[Sent], decisions: Sequence[Decided]) -> None:
        self.world = World(fact_log(*decisions))
        self.decisions = decisions
        self.world.tick(T0)
        self.looked_at: set[str] = set()
        self.arrivals: dict[int, list[object]] = {}
        for each in sent:
            came = min(each.first + each.late, STEPS)
            self.arrivals.setdefault(came, []).append(each.event)
            if each.back is not None:
                gone = self.arrivals.setdefault(min(came + each.back, STEPS + 1), [])
                gone.append(replace(each.event, reversed_at=each.event.time + 1))
                gone += each.replaced

    def step(self, number: int) -> None:
        """The next step: a tick, and what comes behind it."""
        self.world.tick(T0 + number * STEP)
        came = self.arrivals.get(number, ())
        for event in came:
            self.world.line.send(keyed(event))  # type: ignore[arg-type]
        if any(event.reversed_at is not None for event in came):  # type: ignore[attr-defined]
            self.world.match()

    def documents(self) -> dict[str, tuple[int, int, Mapping[str, Json]]]:
        """What was issued so far, by id: (serial, instant) of its cut, and its content."""
        found = dict[str, tuple[int, int, Mapping[str, Json]]]()
        for each in self.world.ledger.prepared:
            content = document_of(each)
            found[str(content["id"])] = (each.cut_serial, each.instant, content)
        return found

    def stands(self) -> Stands:
        """What lines come to with all notes."""
        meters = dict[str, Json]()
        for _, _, content in self.documents().values():
            for line in cast(list[dict[str, Json]], content["lines"]):
                meters[str(line.get("corrects", line["id"]))] = line["meter"]
        ids = {str(content["id"]) for _, _, content in self.documents().values()}
        return {
            name: {(line, meters[line]): total for line, total in lines.items() if line in meters}
            for name, lines in self.world.stands().items()
            if name in ids
        }

    def look(
        self, name: str, other: "Told", meters: frozenset[str] | None
    ) -> tuple[list[NewFact], list[Decision]]:
        """Look at what another world makes of the same usage: what applying that tells."""
        ours, theirs, selection = self.documents(), other.documents(), Selection(meters=meters)
        pairs = []
        for document in ours.keys() | theirs.keys():
            serial, instant, content = ours.get(document) or theirs[document]
            before, after = (
                side[document][2] if document in side else None for side in (ours, theirs)
            )
            customer = str(content["customer"])
            same = before == after
            pairs.append(Pair(name, customer, instant, serial, same, before, after))
        self.looked_at = set(ours)
        compared = families(pairs, selection)
        found = [each for each in compared if each.differs]
        facts = self.world.log._facts
        prices = OtherPrices.of(facts, other.world.log._facts[: len(DECISIONS)])
        since = [*mended(name, mends(compared, selection, prices))]
        return since, repricings(found, selection, name, 0)

    def apply(self, since: Sequence[NewFact], notes: Sequence[Decision]) -> None:
        """Apply what was looked at."""
        now = max(self.world.ticks.values()).time + 1
        for new in since:
            self.world.decide(new)
        for number, each in enumerate(notes):
            self.world.decide(replace(each, at=max(each.at, now) + number).told())


Applied = Mapping[int, tuple[Sequence[Decided], frozenset[str] | None]]


def lived(
    sent: Sequence[Sent], decisions: Sequence[Decided], applied: Applied, waits: int = 0
) -> Stands:
    """What documents come to where replays were applied at some steps, that the last one knew.

    They were looked at so many steps before.
    """
    told = Told(sent, decisions)
    others = [(step, Told(sent, by), meters) for step, (by, meters) in applied.items()]
    looked = dict[int, tuple[list[NewFact], list[Decision]]]()
    for number in range(1, STEPS + 2):
        for _, other, _ in others:
            other.step(number)
        told.step(number)
        for step, other, meters in others:
            if step - waits == number:
                looked[step] = told.look(f"diff_{step}", other, meters)
            if step == number:
                told.apply(*looked[step])
    told.world.correct()
    found = told.stands()
    return {name: each for name, each in found.items() if name in (told.looked_at or found)}


def known(stands: Stands, to: Stands) -> Stands:
    """Those of the same documents."""
    return {name: stands[name] for name in to}


def of(stands: Stands, meters: frozenset[str], *, others: bool = False) -> list[Totals]:
    """What lines of some meters, or of all others, come to."""
    return [
        total
        for lines in stands.values()
        for (_, meter), total in sorted(lines.items(), key=lambda each: each[0][0])
        if (meter in meters) is not others
    ]


@pytest.mark.timeout(3 * EXAMPLES)
@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(events(), st.integers(6, STEPS), st.sampled_from([DEARER, CHEAPER]))
def test_late_usage_is_corrected_by_the_prices_of_the_applied_diff(
    sent: list[Sent], step: int, prices: Sequence[Decided]
) -> None:
    stands = lived(sent, COMMITTED, {step: (prices, None)})
    assert stands == known(lived(sent, prices, {}), stands)


@pytest.mark.timeout(3 * EXAMPLES)
@settings(max_examples=EXAMPLES // 8, deadline=None)
@given(events(), st.integers(9, STEPS), st.integers(1, 3))
def test_notes_by_former_prices_since_it_was_looked_at_are_put_right(
    sent: list[Sent], step: int, waits: int
) -> None:
    stands = lived(sent, COMMITTED, {step: (DEARER, None)}, waits)
    assert stands == known(lived(sent, DEARER, {}), stands)


BOTH_WAYS = [(DEARER, CHEAPER), (CHEAPER, DEARER)]
TAKEN_BACK = [
    Sent(
        usage("acme", "1", meter="calls", time=T0 + 2 * HOUR + 7, region="eu", id="e0"), 0, 8, None
    )
]
"""Behind the second diff's look, and before its notes: which the first had left no room for."""


@pytest.mark.timeout(3 * EXAMPLES)
@settings(max_examples=EXAMPLES // 8, deadline=None)
@given(events(), st.integers(6, STEPS - 2), st.integers(1, 6), st.sampled_from(BOTH_WAYS))
@example(TAKEN_BACK, 7, 2, BOTH_WAYS[1])
def test_the_last_applied_diff_counts(
    sent: list[Sent], step: int, later: int, prices: tuple[Sequence[Decided], Sequence[Decided]]
) -> None:
    first, last = prices
    applied = {step: (first, None), min(step + later, STEPS): (last, None)}
    stands = lived(sent, PLAIN, applied)
    assert stands == known(lived(sent, last, {}), stands)


@pytest.mark.timeout(3 * EXAMPLES)
@settings(max_examples=EXAMPLES // 8, deadline=None)
@given(events(), st.integers(6, STEPS))
def test_lines_that_nobody_looked_at_keep_their_prices(sent: list[Sent], step: int) -> None:
    calls = frozenset({"calls"})
    stands = lived(sent, PLAIN, {step: (DEARER, calls)})
    old, new = (known(lived(sent, by, {}), stands) for by in (PLAIN, DEARER))
    assert of(stands, calls) == of(new, calls)
    assert of(stands, calls, others=True) == of(old, calls, others=True)
