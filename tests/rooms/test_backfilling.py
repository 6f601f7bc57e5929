"""Whose event is whose: a unit looks for its own and for others' in a log in memory."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from builders import (
    GATE,
    T0,
    Decision,
    customer_of,
    facts,
    keyed,
    log_of,
    meter_of,
    named,
    rules_of,
    usage,
)
from pipeline.catalog.facts import Fact, FactKind
from pipeline.collect.batch import UsageBatch
from pipeline.collect.keyed import KeyedEvent
from pipeline.core.calendar import DAY, SECOND, instant_text
from pipeline.core.identity import pass_digest
from pipeline.meter.ticks import Tick
from pipeline.replay.backfill import Units, come_again, reverted_fact
from pipeline.workers.backfilling import Checked, check_unit, sent_by
from pipeline.workers.readmission import Readmission
from rooms.test_readmission import job_over

OLD = T0 - 60 * DAY
"""Long behind the horizon: only by a pass."""
NEW = T0 + SECOND
PARTS = (log_of(), rules_of(), customer_of("acme"), meter_of("calls", "count"))


def batch_of(*numbers: int, time: int = OLD, value: str = "1") -> UsageBatch:
    return keyed(*(usage(id=str(n), time=time, value=value) for n in numbers))


def events(*numbers: int, time: int = OLD, value: str = "1") -> list[KeyedEvent]:
    return [named(usage(id=str(n), time=time, value=value)) for n in numbers]


def passes(*units: tuple[str, UsageBatch]) -> list[Fact]:
    """All facts, with a pass for each batch of a unit."""
    made: list[Decision] = [
        (
            FactKind.GATE_PASS,
            f"pass-{n}",
            {
                "until": instant_text(T0 + GATE.generation_width),
                "batches": [pass_digest(batch.key, batch.fingerprint)],
                "backfill": name,
            },
        )
        for n, (name, batch) in enumerate(units)
    ]
    return facts(*PARTS, *made)


def shown(batch: UsageBatch, known: Sequence[Fact], at: int) -> UsageBatch:
    """A batch as it shows the pass that was written `at`-th."""
    return replace(batch, gate_pass=known[len(PARTS) + at].id)


def job_with(known: Sequence[Fact], *messages: UsageBatch) -> Readmission:
    first, last = Tick(1, T0, len(known)), Tick(2, T0 + 9 * SECOND, len(known))
    return job_over(first, *messages, last, known=known)


def checked(
    job: Readmission, known: Sequence[Fact], wanted: Sequence[KeyedEvent], name: str = "march"
) -> Checked:
    units = Units.after(known, GATE.generation_width)
    return check_unit(job, units, name, wanted, job.moment(), lambda done, of: None)


def test_what_stands_in_the_log_does_not_come_again_however_old_it_is() -> None:
    """Claims forgot it two generations ago; late or in time makes no difference."""
    known = passes(("other", batch_of(1)))
    job = job_with(known, shown(batch_of(1), known, 0), batch_of(2, time=NEW))

    found = checked(job, known, [*events(1, 3), *events(2, 4, time=NEW)])

    assert found.coming == [*events(3), *events(4, time=NEW)]
    assert found.counts == {"sent": 2, "standing": 2, "refused": 0}


def test_a_key_that_stands_for_something_else_is_refused() -> None:
    known = passes(("other", batch_of(1)))
    job = job_with(known, shown(batch_of(1), known, 0))

    found = checked(job, known, events(1, value="7"))

    assert (found.coming, [why[:33] for _, why in found.refused]) == (
        [],
        ["its key stands in the log with ot"],
    )


def test_a_unit_that_died_half_way_knows_what_it_sent() -> None:
    known = passes(("march", batch_of(1, 2)))
    job = job_with(known, shown(batch_of(1, 2), known, 0))

    found = checked(job, known, events(1, 2, 3))

    assert (found.own, found.coming, found.standing) == (2, events(3), 0)
    assert found.counts["sent"] == 3


REVERTED = reverted_fact("march", {})


@pytest.mark.parametrize("value", ["1", "7"])
def test_after_a_unit_was_taken_back_its_events_may_come_again_once(value: str) -> None:
    """As they were or mended; under another unit's name, and not under a third's too."""
    second = keyed(usage(id="x", time=OLD, value=value))
    again = come_again(events(1, value=value)[0], "march")
    second = replace(second, key=again.key, fingerprint=again.fingerprint)
    first = batch_of(1)
    known = passes(("march", first), ("april", second))
    back = Fact(99, "back", REVERTED.kind, REVERTED.subject, REVERTED.body, "ada", "test", T0)

    job = job_with(known, shown(first, known, 0))
    found = checked(job, [*known, back], events(1, value=value), "april")
    assert found.coming == [again]

    job = job_with(known, shown(first, known, 0), shown(second, known, 1))
    third = checked(job, [*known, back], events(1, value=value), "may")
    assert (third.coming, third.counts["standing"]) == ([], 1)


def test_a_unit_takes_back_what_it_sent_and_nobody_elses() -> None:
    """Event 2 came from elsewhere between its look at the log and its batch: that one counts."""
    late, own = batch_of(1, 4), keyed(usage(id="2", time=NEW), usage(id="3", time=NEW))
    other = batch_of(9)
    known = passes(("march", late), ("march", own), ("may", other))
    job = job_with(
        known,
        batch_of(2, time=NEW),
        shown(late, known, 0),
        shown(own, known, 1),
        shown(other, known, 2),
        batch_of(3, time=NEW),
    )
    unit = Units.after(known, GATE.generation_width).of("march")

    found = [*sent_by(job, unit, lambda done, of: None)]

    assert found == [*events(1, 4), *events(3, time=NEW)]
