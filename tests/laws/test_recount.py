"""Law: the second account of a log, written apart from every step, tells the same outcomes."""

from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import (
    GATE,
    MINUTE,
    T0,
    Books,
    Line,
    customer_of,
    fact_log,
    facts,
    gate_pass_of,
    issuer_of,
    keyed,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    sequenced,
    subscription_of,
    usage,
)
from laws.test_slices_hostile import TRUTHS, lies
from pipeline.collect.batch import UsageBatch, heartbeat
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import instant_text
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import batch_digest
from pipeline.dedupe.sequences import SequenceRange, SequenceState, judge_range
from pipeline.invoice.usage import UsagePart
from pipeline.meter.ticks import Tick
from pipeline.replay.coverage import covered_stretches
from pipeline.replay.recount import KnownFacts, Places, Recount
from pipeline.stores.codec import batch_of, decode, encode_batch

START = T0 + 20 * MINUTE
PASSED = keyed(usage(id="old", time=T0 - 2 * GATE.horizon))
DECISIONS = (
    log_of(partitions=2),
    rules_of(),
    issuer_of(),
    meter_of("calls"),
    plan_of("plus", price_of("calls", per_unit("1"), "calls")),
    customer_of("acme"),
    customer_of("globex"),
    subscription_of("s1", "acme", "plus", instant_text(START - 1), instant_text(T0 + GATE.horizon)),
    subscription_of("s2", "globex", "plus", instant_text(T0 - GATE.horizon)),
    meter_of("late_meter"),
    gate_pass_of(PASSED, until=T0 + 3 * GATE.generation_width),
)
FACTS = fact_log(*DECISIONS)
RAW = [(fact.serial, fact.id, fact.kind.value, fact.body) for fact in facts(*DECISIONS)]
EVERY = FACTS.at(FACTS.head)
FIRST_FACTS = len(DECISIONS) - 2
PASS_ID = next(iter(EVERY.gate_passes))
STEPS_US = (MINUTE, 40 * MINUTE, GATE.tolerance, GATE.horizon, GATE.generation_width)

names = st.sampled_from(["acme", "globex", "acme", "initech", "umbrella"])
times = st.sampled_from(
    [-GATE.horizon - 1, -GATE.horizon, -MINUTE, 0, MINUTE, 30 * MINUTE, GATE.tolerance, 10 * MINUTE]
)
events = st.builds(
    lambda who, what, when, value, number: usage(
        who, value, meter=what, time=T0 + when, id=str(number)
    ),
    names,
    st.sampled_from(["calls", "calls", "late_meter", "no_meter"]),
    times,
    st.sampled_from(["1", "2"]),
    st.integers(0, 4),
)
some_events = st.lists(events, min_size=1, max_size=4)


def shifted(found: list[UsageEvent], by: int) -> list[UsageEvent]:
    return [replace(event, time=event.time + by) for event in found]


messages = st.one_of(
    st.tuples(st.just("tick"), st.sampled_from(STEPS_US)),
    st.tuples(st.just("keyed"), some_events),
    st.tuples(st.just("keyed"), some_events),
    st.tuples(st.just("sequenced"), st.integers(0, 9), some_events),
    st.tuples(st.just("sequenced"), st.integers(0, 9), some_events),
    st.tuples(st.just("heartbeat"), st.integers(0, 15), st.booleans()),
    st.tuples(st.just("lie"), st.sampled_from([*TRUTHS, PASSED]), lies),
    st.tuples(st.just("pass"), st.sampled_from([PASS_ID, "no such"])),
    st.tuples(st.just("again")),
    st.tuples(st.just("noise"), st.none() | st.integers(0, 5)),
)
headers = st.sampled_from(["true"] * 9 + ["off", "none"])


def batch_for(kind: str, told: tuple[Any, ...], log_time: int) -> UsageBatch:
    """The batch of a drawn message; times are told from where the log stands."""
    match kind:
        case "keyed":
            return keyed(*shifted(told[0], log_time - T0))
        case "sequenced":
            return sequenced(told[0], *shifted(told[1], log_time - T0))
        case "heartbeat":
            return heartbeat("host-1", "e1", told[0], end=told[1])
        case "pass":
            return replace(PASSED, gate_pass=told[0])
    truth: UsageBatch = told[0]
    return replace(truth, **told[1])


def counted(header: str, batch: UsageBatch) -> int | None:
    """What the record header says."""
    if header == "none":
        return None
    return max(0, batch.event_count) + (header == "off")


class Both:
    """One log, told by the pipeline and by the second account."""

    def __init__(self) -> None:
        self.line, self.books = Line(FACTS), Books(FACTS)
        self.ticks = [Tick(1, T0, FIRST_FACTS)]
        self.rows: dict[int, tuple[int, int]] = {}
        self.recount = Recount(0, KnownFacts.of(RAW), self.rows)
        self.last: tuple[UsageBatch, int | None] | None = None

    def commit(self, tick: Tick) -> None:
        self.line.commit(tick)
        self.rows[tick.serial] = tick.time, tick.fact_position

    def tick(self, step: int) -> None:
        """The next tick comes; the row after it is there already, should anybody ask."""
        here = self.ticks[-1]
        following = Tick(here.serial + 1, here.time + step, FACTS.head)
        self.commit(here)
        self.commit(following)
        record = {"serial": here.serial, "time": here.time, "fact_position": here.fact_position}
        self._feed(0, "Tick.v1", record, b"")
        self.line.read(here, 0)
        self.ticks.append(following)

    def send(self, batch: UsageBatch, header: int | None) -> None:
        message = encode_batch(batch)
        name, record = decode(message)
        self._feed(header, name, record, batch_digest(message))
        self.line.read(batch_of(record), header, batch_digest(message))
        self.last = batch, header

    def noise(self, header: int | None) -> None:
        self._feed(header, "", None, b"")
        self.line.read(Rejection(Code.UNREADABLE, "", "noise"), header)

    def _feed(self, header: int | None, name: str, record: Any, digest: bytes) -> None:
        self.recount.feed(self.line.place.offset, header, name, record, digest)

    def compare(self) -> None:
        self.books.book(self.line.slices)
        counts, tally = self.books.partition.cursor.counts, self.recount.tally
        for name in ("offered", "duplicate", "conflict", "late", "rejected"):
            assert getattr(tally, name) == getattr(counts, name), name
        assert tally.billed + tally.unpaid == counts.fresh
        stretches = covered_stretches(EVERY)
        used = self.books.used(stretches, 1 << 62)
        assert tally.billed == sum(
            part.count for parts in used.values() for part in parts if isinstance(part, UsagePart)
        )


@settings(max_examples=300)
@given(
    st.sampled_from([True, True, True, False]),
    st.lists(st.tuples(messages, headers), min_size=4, max_size=30),
)
def test_both_accounts_agree(ticked: bool, drawn: list[tuple[tuple[Any, ...], str]]) -> None:
    both = Both()
    if ticked:
        both.tick(MINUTE)
    for (kind, *told), header in drawn:
        if kind == "tick":
            both.tick(told[0])
        elif kind == "noise":
            both.noise(told[0])
        elif kind == "again":
            if both.last is not None:
                both.send(*both.last)
        else:
            batch = batch_for(kind, tuple(told), both.line.place.log_time or T0)
            both.send(batch, counted(header, batch))
    both.compare()


places = st.tuples(st.integers(0, 30), st.integers(0, 8), st.sampled_from(["", "!"]))


@example([(5, 0, ""), (12, 0, ""), (3, 4, "")])  # over the place that a heartbeat named
@given(st.lists(places, max_size=40))
def test_both_accounts_judge_a_sequence_alike(told: list[tuple[int, int, str]]) -> None:
    state, apart = SequenceState(), Places()
    for first, count, content in told:
        seen = SequenceRange("host-1", "e1", first, count, (content * 16).encode())
        verdict, state = judge_range(state, seen)

        assert apart.verdict(first, count, seen.digest) == verdict.name.lower()
        assert apart.reach == state.next
