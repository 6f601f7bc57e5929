"""Laws of claims: whatever is redelivered, re-batched or rewound, a key has one owner.

The model below knows only the definition: an event is fresh if it is the first with its key in
its generation, and the generation before has none. It keeps no state and no watermark.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.collect.gate import Gate
from pipeline.dedupe.claims import Behind, Claim, ClaimBook, Delivery, Judged, Verdict


@dataclass(frozen=True)
class Sent:
    """One event in the log: its key and payload by a letter each, the generation it fell in."""

    key: int
    payload: int
    generation: int


Message = Sequence[Sent]
Log = Sequence[Message]
Verdicts = dict[int, tuple[Verdict, Claim]]

few = settings(max_examples=50)
keys, payloads = st.integers(0, 4), st.integers(0, 2)


def named(number: int, size: int) -> bytes:
    return bytes([number]) * size


def fingerprint_of(sent: Sent) -> bytes:
    return named(sent.payload, 4)


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Messages in the order of the log; the generation never falls."""
    shapes = draw(
        st.lists(
            st.tuples(st.integers(0, 2), st.lists(st.tuples(keys, payloads), max_size=5)),
            min_size=1,
            max_size=12,
        )
    )
    generation, log = 0, []
    for rise, events in shapes:
        generation += rise
        log.append([Sent(key, payload, generation) for key, payload in events])
    return log


def delivery(log: Log, offset: int, after: int) -> Delivery:
    events = log[offset]
    return Delivery(
        offset,
        after,
        events[0].generation,
        range(len(events)),
        b"".join(named(sent.key, 16) for sent in events),
        b"".join(fingerprint_of(sent) for sent in events),
    )


def expected(log: Log, offset: int) -> Verdicts:
    """The model: what is not fresh in a message, and who owns it."""
    verdicts = {}
    for index, sent in enumerate(log[offset]):
        owner = first_of(log, sent.key, sent.generation - 1) or first_of(
            log, sent.key, sent.generation
        )
        assert owner is not None
        if (owner.offset, owner.index) != (offset, index):
            same = owner.fingerprint == fingerprint_of(sent)
            verdicts[index] = (Verdict.DUPLICATE if same else Verdict.CONFLICT, owner)
    return verdicts


def first_of(log: Log, key: int, generation: int) -> Claim | None:
    for offset, message in enumerate(log):
        for index, sent in enumerate(message):
            if (sent.key, sent.generation) == (key, generation):
                return Claim(offset, index, fingerprint_of(sent))
    return None


def told(answer: Judged) -> Verdicts:
    return {index: (verdict, owner) for index, verdict, owner in answer.repeats}


def told_at(book: ClaimBook, log: Log, offset: int) -> Verdicts:
    answer = book.claim(delivery(log, offset, offset))
    assert isinstance(answer, Judged)
    return told(answer)


def claiming(log: Log, start: int = 0) -> Iterator[int]:
    """The offsets whose messages claim anything."""
    return (offset for offset in range(start, len(log)) if log[offset])


def read_through(book: ClaimBook, log: Log, start: int, end: int) -> dict[int, Verdicts]:
    """Deliver every claiming message in order, as one worker does.

    Where the claims lack something below, it claims again from their watermark on.
    """
    found: dict[int, Verdicts] = {}
    after = start
    for offset in claiming(log[:end], start):
        answer = book.claim(delivery(log, offset, after))
        if isinstance(answer, Behind):
            assert answer.watermark + 1 < after
            return found | read_through(book, log, answer.watermark + 1, end)
        found[offset], after = told(answer), offset + 1
    return found


@few
@given(logs())
def test_claims_follow_the_definition(log: Log) -> None:
    assert read_through(ClaimBook(), log, 0, len(log)) == {
        offset: expected(log, offset) for offset in claiming(log)
    }


@few
@given(logs(), st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=6))
def test_any_rewind_at_any_time_changes_nothing(log: Log, rewinds: list[tuple[int, int]]) -> None:
    """A worker stops anywhere, another starts at any offset already reached."""
    book, reached = ClaimBook(), 0
    for stop, back in [*rewinds, (len(log), 0)]:
        start = back % (reached + 1)
        end = max(start, min(len(log), stop))
        found = read_through(book, log, start, end)
        assert found.keys() >= {*claiming(log[:end], start)}
        assert found == {offset: expected(log, offset) for offset in found}
        reached = max(reached, end)


@few
@given(logs(), st.randoms(use_true_random=False), st.integers(1, 3))
def test_the_order_of_redelivery_is_nothing(log: Log, chance: Random, times: int) -> None:
    book = ClaimBook()
    read_through(book, log, 0, len(log))
    again = [*claiming(log)] * times
    chance.shuffle(again)

    for offset in again:
        assert told_at(book, log, offset) == expected(log, offset)


@few
@given(logs(), st.lists(st.integers(1, 4), min_size=1))
def test_other_batches_of_the_same_events_have_the_same_owners(log: Log, sizes: list[int]) -> None:
    """An owner is an event, however the events are cut into batches."""
    stream = [sent for message in log for sent in message]
    cut: list[Message] = []
    at = 0
    while at < len(stream):
        size = sizes[len(cut) % len(sizes)]
        generation = stream[at].generation
        batch = [sent for sent in stream[at : at + size] if sent.generation == generation]
        cut.append(batch)
        at += len(batch)

    assert fresh_places(log) == fresh_places(cut)


def fresh_places(log: Log) -> list[bool]:
    """For every event of the stream in order: does it own its key?"""
    found = read_through(ClaimBook(), log, 0, len(log))
    return [index not in found[at] for at in found for index in range(len(log[at]))]


@few
@given(logs())
def test_two_generations_suffice(log: Log) -> None:
    """Claims made again from the start of the generation before judge as those made live."""
    for offset in claiming(log):
        generation = log[offset][0].generation
        start = next(at for at in claiming(log) if log[at][0].generation >= generation - 1)
        book = ClaimBook(start)

        assert read_through(book, log, start, offset + 1)[offset] == expected(log, offset)


@few
@given(logs())
def test_generations_two_behind_may_go(log: Log) -> None:
    book = ClaimBook()
    for offset in claiming(log):
        book.drop(log[offset][0].generation - 1)
        start = book.watermark + 1
        assert read_through(book, log, start, offset + 1)[offset] == expected(log, offset)


@few
@given(logs(), st.integers(0, 12))
def test_claims_that_lack_a_message_say_so_and_are_made_again(log: Log, missed: int) -> None:
    """Redis lost what came after `missed`: it answers Behind until that was claimed again."""
    book = ClaimBook()
    read_through(book, log, 0, missed)
    for offset in claiming(log, missed):
        lacks = offset > book.watermark + 1
        assert isinstance(book.claim(delivery(log, offset, offset)), Behind) == lacks
    for offset in claiming(log):
        assert read_through(book, log, offset, offset + 1)[offset] == expected(log, offset)


@few
@given(
    st.builds(Gate, st.integers(1, 40), st.integers(0, 10)),
    st.integers(0, 10**4),
    st.lists(st.integers(0, 100), min_size=1, max_size=12),
)
def test_an_event_resent_for_as_long_as_it_is_in_time_is_fresh_once(
    gate: Gate, event_time: int, lags: list[int]
) -> None:
    """The reason for the width: horizon and tolerance together span two generations at most."""
    first = event_time - gate.tolerance
    log_times = sorted(first + lag % (gate.generation_width + 1) for lag in lags)
    log = [[Sent(0, 0, gate.generation(log_time))] for log_time in log_times]

    verdicts = read_through(ClaimBook(), log, 0, len(log))

    assert [offset for offset, repeats in verdicts.items() if not repeats] == [0]
    assert all(v is Verdict.DUPLICATE for r in verdicts.values() for v, _ in r.values())
