"""Laws of sequences: each place is booked at most once; with every batch, exactly once.

The model is a set of places. It knows nothing of recent ranges and gaps.
"""

from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedupe.claims import Verdict
from pipeline.dedupe.sequences import RECENT_MAX, SequenceRange, SequenceState, judge_range

PRODUCER, EPOCH = "host-1", "e1"

Batches = list[SequenceRange]


def covering(first: int, count: int, content: str = "", *, end: bool = False) -> SequenceRange:
    digest = f"{first}+{count}{content}".encode().ljust(16, b".")
    return SequenceRange(PRODUCER, EPOCH, first, count, digest, end)


@st.composite
def sequences(draw: st.DrawFn) -> Batches:
    """A producer's batches end to end, heartbeats between them, an end mark last."""
    batches, place = [], 0
    for count in draw(st.lists(st.integers(0, 6), min_size=1, max_size=14)):
        batches.append(covering(place, count))
        place += count
    return [*batches, covering(place, 0, end=True)]


@dataclass
class Ledger:
    """What was booked, place by place, beside the state under test."""

    state: SequenceState
    booked: list[int]

    @classmethod
    def empty(cls) -> "Ledger":
        return cls(SequenceState(), [])

    def take(self, seen: SequenceRange) -> Verdict:
        verdict, self.state = judge_range(self.state, seen)
        if verdict is Verdict.FRESH:
            self.booked += range(seen.first, seen.first + seen.count)
        return verdict

    def missing(self) -> set[int]:
        return {place for low, high in self.state.gaps for place in range(low, high)}


def shuffled(batches: Batches, chance: Random, times: int) -> Batches:
    out = batches * times
    chance.shuffle(out)
    return out


@given(sequences())
def test_in_order_every_place_is_booked_once(batches: Batches) -> None:
    ledger = Ledger.empty()

    assert {ledger.take(batch) for batch in batches} == {Verdict.FRESH}
    assert ledger.booked == list(range(batches[-1].first))
    assert ledger.state.gaps == ()
    assert ledger.state.ended


@given(sequences(), st.randoms(use_true_random=False), st.integers(1, 3))
def test_in_any_order_and_number_every_place_is_booked_once(
    batches: Batches, chance: Random, times: int
) -> None:
    ledger = Ledger.empty()
    verdicts = [ledger.take(batch) for batch in shuffled(batches, chance, times)]

    assert sorted(ledger.booked) == list(range(batches[-1].first))
    assert ledger.missing() == set()
    assert Verdict.CONFLICT not in verdicts
    assert (ledger.state.next, ledger.state.ended) == (batches[-1].first, True)


@given(sequences(), st.randoms(use_true_random=False), st.data())
def test_gaps_name_exactly_what_is_missing(
    batches: Batches, chance: Random, data: st.DataObject
) -> None:
    """At every moment: below the highest place heard of, what was not booked is a gap."""
    lost = data.draw(st.sets(st.integers(0, len(batches) - 1)))
    ledger, heard_of = Ledger.empty(), 0
    for batch in shuffled([b for i, b in enumerate(batches) if i not in lost], chance, 2):
        ledger.take(batch)
        heard_of = max(heard_of, batch.first + batch.count)
        assert ledger.missing() == set(range(heard_of)) - set(ledger.booked)
        assert ledger.state.next == heard_of
        assert list(ledger.state.gaps) == sorted(ledger.state.gaps)
        assert all(low < high for low, high in ledger.state.gaps)
        assert len(ledger.state.since) == len(ledger.state.gaps)


ranges = st.builds(covering, st.integers(0, 30), st.integers(0, 8), st.sampled_from(["", "!"]))


@given(st.lists(ranges, max_size=40))
def test_whatever_a_producer_sends_no_place_is_booked_twice(sent: Batches) -> None:
    ledger = Ledger.empty()
    for batch in sent:
        booked, before = set(ledger.booked), ledger.state
        end = batch.first + batch.count
        fits = batch.first >= before.next or any(
            low <= batch.first and end <= high for low, high in before.gaps
        )
        verdict = ledger.take(batch)

        assert (verdict is Verdict.FRESH) == (fits or not batch.count)
        assert len(set(ledger.booked)) == len(ledger.booked)
        if verdict is Verdict.DUPLICATE:
            assert booked >= set(range(batch.first, end))
        assert ledger.missing() | set(ledger.booked) == set(range(ledger.state.next))


@given(sequences(), st.integers(0, 13), st.randoms(use_true_random=False))
def test_a_known_range_with_other_content_is_a_conflict(
    batches: Batches, which: int, chance: Random
) -> None:
    ledger = Ledger.empty()
    for batch in shuffled(batches, chance, 1):
        ledger.take(batch)
    forged = batches[which % len(batches)]
    before = ledger.state

    if forged.count:
        assert ledger.take(covering(forged.first, forged.count, "!")) is Verdict.CONFLICT
        assert ledger.state == before


def test_only_so_many_ranges_are_remembered_yet_older_ones_stay_duplicates() -> None:
    ledger = Ledger.empty()
    batches = [covering(place, 1) for place in range(3 * RECENT_MAX)]
    for batch in batches:
        ledger.take(batch)

    assert len(ledger.state.recent) == RECENT_MAX
    assert {ledger.take(batch) for batch in batches} == {Verdict.DUPLICATE}
    assert ledger.booked == list(range(3 * RECENT_MAX))
