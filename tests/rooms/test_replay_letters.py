"""Dead letters read: what was refused of a message, what may be sent again, what became of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import (
    GATE,
    T0,
    Line,
    count_meter,
    fact_log,
    facts,
    keyed,
    log_of,
    meter_of,
    rules_of,
    sequenced,
    usage,
)
from pipeline.catalog.facts import FactKind
from pipeline.collect.batch import UsageBatch
from pipeline.collect.letters import DeadLetter, Refusal
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import event_key, sequenced_key
from pipeline.meter.place import SKIPPED, Opened
from pipeline.meter.ticks import Tick
from pipeline.replay.letters import (
    ADVICE,
    LetterId,
    Now,
    RejectedEvent,
    Selection,
    State,
    States,
    ids_text,
    letter_facts,
    parse_id,
    rejected_events,
    why_not,
)

FACTS = [log_of(), rules_of(), meter_of("calls")]
GOLD = usage(meter="gold", value="1.5", id="g", region="eu")
OLD = usage(time=T0 - GATE.horizon - 1, id="old")
NOW = Now({"calls": count_meter()}, T0 + GATE.tolerance)


def letter_after(opened: Opened, header_count: int | None) -> list[RejectedEvent]:
    """What the line refuses of one message behind tick 1."""
    line = Line(fact_log(*FACTS))
    line.tick(Tick(1, T0, 3))
    line.commit(Tick(2, T0, 3))
    piece = line.read(opened, header_count)
    letter = DeadLetter("usage.events.v1", 0, piece.offset, T0, line.refusals, b"", (), "acme")
    return rejected_events(letter, "usage", opened)


def told(rejected: RejectedEvent) -> tuple[str, Code, int]:
    return str(rejected.id), rejected.rejection.code, rejected.event_count


SPOILED = replace(keyed(GOLD, OLD), time=b"")
MESSAGES: list[tuple[str, Opened, int | None, list[tuple[str, Code, int]]]] = [
    (
        "one event of three",
        keyed(usage(id="1"), GOLD, usage(id="2")),
        3,
        [("usage:0:1:1", Code.UNKNOWN_METER, 1)],
    ),
    (
        "two reasons",
        keyed(OLD, GOLD),
        2,
        [("usage:0:1:0", Code.LATE, 1), ("usage:0:1:1", Code.UNKNOWN_METER, 1)],
    ),
    (
        "a whole batch that can be read",
        keyed(usage(id="1"), usage(id="2")),
        5,
        [("usage:0:1:0", Code.COUNT_MISMATCH, 1), ("usage:0:1:1", Code.COUNT_MISMATCH, 1)],
    ),
    ("a batch that cannot", SPOILED, 2, [("usage:0:1", Code.BAD_LENGTH, 2)]),
    ("a tick", Tick(9, T0, 1), 0, [("usage:0:1", Code.UNKNOWN_TICK, 0)]),
    (
        "rubbish",
        Rejection(Code.UNREADABLE, "", "rubbish"),
        7,
        [("usage:0:1", Code.UNREADABLE, 7)],
    ),
]


@pytest.mark.parametrize(
    ("opened", "header", "expected"), [row[1:] for row in MESSAGES], ids=[r[0] for r in MESSAGES]
)
def test_what_a_letter_tells(
    opened: Opened, header: int | None, expected: list[tuple[str, Code, int]]
) -> None:
    assert [told(each) for each in letter_after(opened, header)] == expected


def test_a_keyed_event_is_told_to_the_last_field() -> None:
    (rejected,) = letter_after(keyed(GOLD), 1)

    assert rejected.customer == "acme"
    event = rejected.event
    assert event is not None
    assert (event.meter, event.time, event.mantissa, event.scale) == ("gold", T0, 15, 1)
    assert (event.dimensions, event.epoch) == ((("region", "eu"),), None)
    assert event.key == event_key("acme", "shop", "g")
    assert event.fingerprint == keyed(GOLD).fingerprint


def test_the_key_of_a_sequenced_event_is_that_of_its_place() -> None:
    (rejected,) = letter_after(sequenced(40, usage(), GOLD), 2)

    event = rejected.event
    assert event is not None
    assert event.key == sequenced_key("host-1", "e1", 0, 41)
    assert event.fingerprint == keyed(GOLD).fingerprint
    assert event.epoch == ("host-1", "e1")


AGAIN: list[tuple[str, UsageBatch | Rejection, int, str | None]] = [
    ("late", keyed(OLD), 1, None),
    ("late in a sequence", sequenced(0, OLD), 1, None),
    ("no such meter yet", keyed(GOLD), 1, "no meter 'gold' is in force"),
    ("a header that lies", keyed(usage(id="1")), 2, None),
    ("the same in a sequence", sequenced(0, usage()), 2, "its place in the sequence is still open"),
    ("no longer ahead", keyed(usage(time=T0, id="1")), 2, None),
    ("outside the calendar", keyed(usage(time=1, id="1")), 1, "with its true time"),
    ("rubbish", Rejection(Code.UNREADABLE, "", "rubbish"), 1, "nobody can read it (rubbish)"),
    ("a spoiled batch", SPOILED, 2, "nobody can read it"),
    ("ahead", keyed(usage(time=T0 + GATE.tolerance + 1, id="1")), 2, "its time is still ahead"),
]


@pytest.mark.parametrize(
    ("opened", "header", "why"), [row[1:] for row in AGAIN], ids=[row[0] for row in AGAIN]
)
def test_what_may_be_sent_again(
    opened: UsageBatch | Rejection, header: int, why: str | None
) -> None:
    (rejected,) = letter_after(opened, header)

    found = why_not(rejected, NOW)
    assert found is None if why is None else why in (found or "")


def test_a_conflict_is_never_sent_again() -> None:
    line = Line(fact_log(*FACTS))
    line.tick(Tick(1, T0, 3))
    line.send(keyed(usage(id="1")))
    line.send(keyed(usage(id="1", value="2")))
    letter = DeadLetter("usage.events.v1", 0, 2, T0, line.refusals, b"")
    (rejected,) = rejected_events(letter, "usage", keyed(usage(id="1", value="2")))

    assert "under an id of its own" in (why_not(rejected, NOW) or "")


@pytest.mark.parametrize(
    ("batch", "why"),
    [(keyed(usage(id="1")), ""), (sequenced(0, usage()), "its place in the sequence is still")],
)
def test_what_a_fact_skipped(batch: UsageBatch, why: str) -> None:
    letter = DeadLetter("usage.events.v1", 0, 2, T0, [Refusal(SKIPPED, 1)], b"")
    (rejected,) = rejected_events(letter, "usage", batch)

    assert (why_not(rejected, NOW) or "").startswith(why)
    assert bool(why_not(rejected, NOW)) is bool(why)


def test_a_single_event_that_a_later_release_can_read() -> None:
    refusal = Refusal(Rejection(Code.TOO_LARGE, "data.dimensions", "too many"), 1)
    letter = DeadLetter("usage.raw.v1", 2, 7, 0, [refusal], b"{}")
    event = letter_after(keyed(OLD), 1)[0].event
    assert event is not None
    (rejected,) = rejected_events(letter, "raw", event)

    assert (str(rejected.id), rejected.event) == ("raw:2:7", event)
    assert why_not(rejected, NOW) is None
    (unread,) = rejected_events(letter, "raw", refusal.rejection)
    assert "in smaller batches" in (why_not(unread, NOW) or "")


def test_every_code_has_advice() -> None:
    assert set(ADVICE) == set(Code)


# ---- selections ------------------------------------------------------------------------------

ONE = letter_after(keyed(GOLD, OLD), 2)[0]
NOBODY_KNOWS = letter_after(Rejection(Code.UNREADABLE, "", "rubbish"), 1)[0]


@pytest.mark.parametrize(
    ("selection", "takes_one", "takes_rubbish"),
    [
        (Selection(), True, True),
        (Selection(frozenset([ONE.id])), True, False),
        (Selection(frozenset([ONE.id.message])), True, True),
        (Selection(frozenset([ONE.id._replace(number=1)])), False, False),
        (Selection(code=Code.UNKNOWN_METER), True, False),
        (Selection(code=Code.LATE), False, False),
        (Selection(customer="acme"), True, True),
        (Selection(customer="other"), False, False),
        (Selection(start=T0), True, False),
        (Selection(start=T0 + 1), False, False),
        (Selection(end=T0 + 1), True, False),
        (Selection(end=T0), False, False),
        (Selection(frozenset([ONE.id]), Code.LATE), False, False),
    ],
)
def test_a_selection(selection: Selection, takes_one: bool, takes_rubbish: bool) -> None:
    assert (selection.takes(ONE), selection.takes(NOBODY_KNOWS)) == (takes_one, takes_rubbish)


# ---- ids and states --------------------------------------------------------------------------

ids = st.builds(
    LetterId,
    st.sampled_from(["usage", "raw"]),
    st.integers(0, 2),
    st.integers(0, 3),
    st.integers(-1, 12),
)


@given(ids)
def test_an_id_is_read_as_it_is_printed(each: LetterId) -> None:
    assert parse_id(str(each)) == each


@pytest.mark.parametrize(
    "text",
    ["", "usage", "usage:1", "usage:1:2:3:4", "else:1:2", "usage:1:-2", "usage:1:²", "usage:1:"],
)
def test_what_is_no_id(text: str) -> None:
    assert parse_id(text) is None


def test_ids_in_short() -> None:
    given_ids = [LetterId("usage", 3, 9, n) for n in (0, 1, 2, 4, 6, 7)]
    given_ids += [LetterId("usage", 3, 10, 8), LetterId("usage", 3, 11)]

    assert list(ids_text(given_ids)) == [
        "usage:3:9:0-2",
        "usage:3:9:4",
        "usage:3:9:6-7",
        "usage:3:10:8",
        "usage:3:11",
    ]


@given(st.lists(st.tuples(st.sampled_from([FactKind.REDRIVE, FactKind.WAIVER]), st.sets(ids))))
def test_a_state_is_what_was_said_last(decisions: list[tuple[FactKind, set[LetterId]]]) -> None:
    said = {FactKind.REDRIVE: State.REDRIVEN, FactKind.WAIVER: State.WAIVED}
    expected: dict[LetterId, State] = {}
    written = []
    for kind, chosen in decisions:
        expected |= dict.fromkeys(chosen, said[kind])
        written += [
            (fact.kind, fact.subject, dict(fact.body)) for fact in letter_facts(kind, chosen, {})
        ]

    states = States.after(facts(*FACTS, *written))

    asked = {each for _, chosen in decisions for each in chosen} | {LetterId("usage", 9, 9, 9)}
    assert {each: states.of(each) for each in asked} == {
        each: expected.get(each, State.OPEN) for each in asked
    }


def test_facts_stay_small() -> None:
    many = [LetterId("usage", 3, offset, 2 * n) for offset in range(40) for n in range(100)]

    written = list(letter_facts(FactKind.WAIVER, many, {}))

    assert all(len(str(fact.body)) < 8000 for fact in written)
    assert len(written) > 1
    states = States.after(facts(*((f.kind, f.subject, dict(f.body)) for f in written)))
    assert {states.of(each) for each in many} == {State.WAIVED}
