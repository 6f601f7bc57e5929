"""Reversals step by step: what is let in, what waits, what matches, what is asked to be amended."""

from dataclasses import replace

import pytest

from builders import (
    GATE,
    HOUR,
    MINUTE,
    T0,
    TICK_1,
    arrival,
    count_meter,
    ground,
    keyed,
    named,
    sequenced,
    usage,
)
from pipeline.book.reversing import Reversals, ReversalState, at_scale
from pipeline.catalog.matches import EventPlace, Match, match_facts, matches_in, told_by
from pipeline.collect.batch import UsageBatch
from pipeline.collect.event import UsageEvent
from pipeline.collect.keyed import KeyedEvent
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant, Code
from pipeline.core.identity import event_key, fingerprint, sequenced_key
from pipeline.meter.meters import Aggregation, Meter
from pipeline.meter.place import look
from pipeline.meter.sift import Sifted, contribution, delivery
from pipeline.meter.slices import Counts, Minus, Slice
from pipeline.meter.ticks import Tick
from pipeline.replay.amending import Change, Chosen, taken_back
from pipeline.replay.matching import Search, Sequences

PEAK = Meter("peak", Aggregation.MAX, "call", 15 * MINUTE)
REVERSIBLE = replace(PEAK, id="crest", points=True)
GROUND = ground(count_meter("calls", 15 * MINUTE, "region"), PEAK, REVERSIBLE)
EVENT = usage(value="1.50", id="e1", region="eu", user="ann")


def back(event: UsageEvent, at: Instant = T0) -> UsageEvent:
    """Its reversal."""
    return replace(event, reversed_at=at)


def sifted(batch: UsageBatch, at: Instant = T0, offset: int = 7) -> Sifted:
    """What is left of a batch behind a tick."""
    here = arrival(batch.event_count, offset=offset, tick=Tick(1, at, 1))
    looked = look(batch, here, GROUND, {1: TICK_1, 2: Tick(2, at + 1, 1)})
    assert isinstance(looked, Sifted)
    return looked


def sliced(batch: UsageBatch, at: Instant = T0) -> Slice:
    return contribution(sifted(batch, at), arrival(batch.event_count), None)[0]


def minus_of(event: UsageEvent) -> Minus:
    (minus,) = sliced(keyed(back(event))).minuses
    return minus


LATE = 2 * GATE.horizon


@pytest.mark.parametrize(
    ("what", "event", "at", "outcome"),
    [
        ("just so", back(EVENT), T0, Counts(1, fresh=1)),
        ("of long ago", back(EVENT, T0 + LATE), T0 + LATE, Counts(1, fresh=1)),
        ("late itself", back(EVENT, T0), T0 + LATE, Counts(1, late=1)),
        ("ahead itself", back(EVENT, T0 + HOUR), T0, Counts(1, rejected=1)),
        ("of no year", back(EVENT, 1), T0, Counts(1, rejected=1)),
        ("of usage ahead", back(replace(EVENT, time=T0 + HOUR)), T0, Counts(1, fresh=1)),
        ("of a peak", back(replace(EVENT, meter="peak")), T0, Counts(1, rejected=1)),
        ("of a crest", back(replace(EVENT, meter="crest")), T0, Counts(1, fresh=1)),
        ("of no meter", back(replace(EVENT, meter="x")), T0, Counts(1, rejected=1)),
    ],
)
def test_a_reversal_is_judged_by_its_own_time(
    what: str, event: UsageEvent, at: Instant, outcome: Counts
) -> None:
    piece = sliced(keyed(event), at)
    assert piece.counts == outcome, what
    assert len(piece.minuses) == outcome.fresh
    assert piece.rows.count == b""


def test_a_peak_is_not_reversible_but_counts_as_usage() -> None:
    both = [replace(EVENT, meter="peak"), back(replace(EVENT, meter="peak", id="e2"))]
    found = sifted(keyed(*both))
    assert found.claimable.tolist() == [True, False]
    assert [refusal.rejection.code for refusal in found.refusals] == [Code.NOT_REVERSIBLE]


def test_a_minus_is_what_its_original_added() -> None:
    minus = minus_of(EVENT)
    assert minus == Minus(
        index=0,
        key=event_key("acme", "shop", "e1"),
        payload_print=fingerprint("calls", T0, 15, 1, {"region": "eu", "user": "ann"}),
        customer="acme",
        meter="calls",
        scale=1,
        dimensions=(("region", "eu"),),
        window_start=T0,
        time=T0,
        mantissa=15,
    )


def test_a_reversal_claims_for_itself_whatever_its_own_time() -> None:
    def claim(event: UsageEvent) -> tuple[bytes, bytes]:
        batch = keyed(event)
        found = delivery(sifted(batch), arrival(1), 0, GATE)
        assert found is not None
        return found.keys, found.fingerprints

    assert claim(back(EVENT)) == claim(back(EVENT, T0 + MINUTE))
    assert claim(back(EVENT)) != claim(EVENT)
    assert claim(back(EVENT)) != claim(back(replace(EVENT, value=EVENT.value + 1)))


# ---- facts -----------------------------------------------------------------------------------

MATCHES = [
    Match(EventPlace(7, 0), EventPlace(5, 3), 1),
    Match(EventPlace(7, 1), EventPlace(9, 0), 0, conflict=True),
]


def test_matches_travel_as_facts() -> None:
    (fact,) = match_facts(3, reversed(MATCHES))
    assert fact.body == {"partition": 3, "matches": "7:0=5:3*1 7:1!9:0*0"}
    assert told_by(8, fact.body) == [(3, (8, "7:0=5:3*1 7:1!9:0*0"))]
    assert matches_in("7:0=5:3*1 7:1!9:0*0") == MATCHES
    assert len(match_facts(0, MATCHES * 501)) == 2
    with pytest.raises(BrokenInvariant, match="no match of a reversal"):
        matches_in("7:0~5:3*1")


# ---- what waits ------------------------------------------------------------------------------


def test_once_for_ever_and_settled_once() -> None:
    minus = minus_of(EVENT)
    waits = Reversals.of({})
    assert list(waits.come(7, [minus])) == [EventPlace(7, 0)]
    assert waits.come(8, [minus]) == {}
    assert list(waits.come(9, [replace(minus, payload_print=b"else")])) == [EventPlace(9, 0)]

    settled, minuses = waits.settle(
        [*MATCHES[:1], *MATCHES[:1], Match(EventPlace(9, 0), EventPlace(5, 3), 1, conflict=True)]
    )
    assert [one.state for one in settled] == [ReversalState.MATCHED, ReversalState.CONFLICT]
    assert minuses == [minus]
    assert waits.waiting == {}
    assert waits.come(10, [minus]) == {}, "even now"


@pytest.mark.parametrize(("scale", "mantissa"), [(1, 15), (3, 1500), (18, 15 * 10**17)])
def test_a_minus_stands_at_its_originals_scale(scale: int, mantissa: int) -> None:
    minus = minus_of(EVENT)
    assert at_scale(minus, scale) == replace(minus, scale=scale, mantissa=mantissa)
    assert at_scale(replace(minus, mantissa=20), 0).mantissa == 2
    with pytest.raises(BrokenInvariant, match="finer"):
        at_scale(minus, 0)


# ---- what matches ----------------------------------------------------------------------------


def found(search: Search, *told: tuple[int, UsageBatch, int]) -> list[Match]:
    """What a search finds among (offset, batch, generation)."""
    looked = [(sifted(batch, offset=offset), offset, g) for offset, batch, g in told]
    for each, offset, generation in looked:
        search.feed(each, arrival(1, offset=offset), generation)
    sequences = Sequences(search.epochs)
    for each, offset, _ in looked:
        sequences.feed(each, arrival(1, offset=offset, digest=bytes([offset] * 16)))
    return list(search.matches(sequences.taken))


def waiting(event: UsageEvent = EVENT) -> dict[EventPlace, Minus]:
    return {EventPlace(9, 0): minus_of(event)}


OTHER = replace(EVENT, value=EVENT.value + 1)


@pytest.mark.parametrize(
    ("what", "sure_from", "told", "expected"),
    [
        ("there", 0, [(5, EVENT, 4)], ("=", 5)),
        ("twice", 0, [(5, EVENT, 4), (6, EVENT, 4)], ("=", 5)),
        ("other content", 0, [(5, OTHER, 4)], ("!", 5)),
        ("first another's key", 0, [(5, OTHER, 4), (6, EVENT, 5)], ("!", 5)),
        ("key used anew later", 0, [(5, OTHER, 2), (6, EVENT, 4)], ("=", 6)),
        ("nowhere", 0, [(5, usage(id="e9"), 4)], None),
        ("in a generation nobody is sure of", 5, [(5, EVENT, 4)], None),
        ("a repeat of one nobody is sure of", 5, [(5, EVENT, 4), (6, EVENT, 5)], None),
        ("sure again", 5, [(5, OTHER, 3), (6, EVENT, 5)], ("=", 6)),
    ],
)
def test_what_is_an_original(
    what: str,
    sure_from: int,
    told: list[tuple[int, UsageEvent, int]],
    expected: tuple[str, int] | None,
) -> None:
    search = Search(0, waiting(), sure_from=sure_from)
    matches = found(search, *((offset, keyed(event), g) for offset, event, g in told))
    assert [("!" if m.conflict else "=", m.original.offset) for m in matches] == (
        [expected] if expected else []
    ), what


def test_a_reversal_is_no_original() -> None:
    assert found(Search(0, waiting()), (5, keyed(back(EVENT)), 4)) == []


def test_of_a_sequence_only_what_it_took_is_an_original() -> None:
    event = replace(EVENT, id="")
    minus = replace(minus_of(EVENT), key=sequenced_key("host-1", "e1", 0, 3))
    overlapping = (6, sequenced(1, event, event, event), 4)
    filling = (7, sequenced(3, event), 4)
    search = Search(0, {EventPlace(9, 0): minus})
    assert found(search, (5, sequenced(0, event, event), 4), overlapping) == []
    search = Search(0, {EventPlace(9, 0): minus})
    (match,) = found(search, (5, sequenced(0, event, event), 4), overlapping, filling)
    assert match.original == EventPlace(7, 0)
    search = Search(0, {EventPlace(9, 0): minus}, proven_from=T0 + 1)
    assert found(search, filling) == []


def test_a_search_goes_on_for_another_and_forgets_what_waits_no_more() -> None:
    one, other = Search(0, waiting()), Search(0, {EventPlace(8, 0): minus_of(OTHER)})
    assert len(found(one, (5, keyed(EVENT), 4))) == 1
    assert len(found(other, (5, keyed(EVENT), 4))) == 1
    one.absorb(other)
    assert {match.reversal.offset: match.conflict for match in one.matches(set())} == {
        8: True,
        9: False,
    }
    one.keep({EventPlace(8, 0)})
    assert [match.reversal.offset for match in one.matches(set())] == [8]
    one.keep(set())
    assert list(one.matches(set())) == []


# ---- what is asked for -----------------------------------------------------------------------

KEYED = named(EVENT)


@pytest.mark.parametrize(
    ("chosen", "taken"),
    [
        (Chosen(customer="acme"), True),
        (Chosen(customer="globex"), False),
        (Chosen("acme", "shop", ("e1", "e2")), True),
        (Chosen("acme", "shop", ("e2",)), False),
        (Chosen("acme", "mall", ("e1",)), False),
        (Chosen(meter="calls", where={"region": "eu"}), True),
        (Chosen(meter="calls", where={"region": "us"}), False),
        (Chosen(where={"tier": ""}), False),
        (Chosen(start=T0, end=T0 + 1), True),
        (Chosen(start=T0 + 1), False),
        (Chosen(end=T0), False),
    ],
)
def test_usage_is_chosen_by_all_that_is_given(chosen: Chosen, taken: bool) -> None:
    assert chosen.takes(KEYED, chosen.keys) is taken


def test_the_same_amendment_is_the_same_event() -> None:
    change = Change((2, 0), {"region": "us"})
    new = change.applied(KEYED)
    assert new == change.applied(KEYED)
    assert (new.mantissa, new.scale, new.dimensions) == (
        2,
        0,
        (("region", "us"), ("user", "ann")),
    )
    assert new.key != KEYED.key
    assert new.fingerprint == new.payload_print
    assert not change.leaves(KEYED)
    assert change.leaves(new)
    assert Change((15, 1)).leaves(KEYED)


def test_what_is_taken_back_is_the_event_at_another_time() -> None:
    event: KeyedEvent = taken_back(KEYED, T0 + 5)
    assert event == named(back(EVENT, T0 + 5))
