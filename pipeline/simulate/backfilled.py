"""Backfilled: what became of old usage that came in bulk, as the auditor reads facts.

Owns: that all of a unit counts or has a reason not to, that a unit taken back takes all of its own.
Does not own: what counts at all (witness.py), what documents make of it (billing.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant
from pipeline.simulate.backfills import key_after, keys_of, name_of
from pipeline.simulate.decisions import UNHEARD_OF
from pipeline.simulate.log import Kept
from pipeline.simulate.returns import Returns
from pipeline.simulate.witness import Counted, Witness, payload_of, reversible

Fault = tuple[str, str]
"""(law, detail)."""
Log = Sequence[Sequence[Kept]]
_TICKS_BEFORE = 3
"""Who commits knows a tick that every partition has: not the last one, by a clock that lags."""


def backfill_faults(
    units: Mapping[str, Sequence[UsageEvent]], witness: Witness, returns: Returns, log: Log
) -> Iterator[Fault]:
    """Yield where a unit is not what was told of it; `units` are all that were staged, by name."""
    passes = {
        fact.id: str(fact.body["backfill"])
        for fact in witness.facts
        if fact.kind is FactKind.GATE_PASS and "backfill" in fact.body
    }
    own: dict[str, list[Counted]] = {name: [] for name in units}
    first: dict[bytes, tuple[Counted, str]] = {}
    for each in witness.counted:
        sent = witness.sent[log[each.partition][each.offset].value]
        owner = passes.get(sent.gate_pass, "")
        first.setdefault(each.key, (each, owner))
        if owner:
            own[owner].append(each)
    reverted = set[str]()
    for fact in witness.facts:
        name = fact.subject
        if fact.kind is FactKind.BACKFILL and fact.body["what"] == "committed":
            ahead = _ahead_of(fact, witness)
            yield from _committed(fact, units[name], len(own[name]), first, reverted, ahead)
        elif fact.kind is FactKind.BACKFILL:
            reverted.add(name)
            yield from _reverted(fact, own[name], returns)
    yield from _took_others(own, witness, log)


def _committed(
    fact: Fact,
    unit: Sequence[UsageEvent],
    own: int,
    first: Mapping[bytes, tuple[Counted, str]],
    reverted: Collection[str],
    ahead: Instant,
) -> Iterator[Fault]:
    """Yield what of a unit neither counts nor has a reason not to, and counts that are not so.

    `first` to count under each key, and the unit that it came with; some are `reverted` by then.
    What is of a time `ahead` may be refused. What was sent without becoming the unit's own came
    behind something else under its key, sent between the look at the log and the unit.
    """
    told = cast(Mapping[str, int], fact.body["counts"])
    events = {keys_of(each, ())[0]: each for each in reversed(unit)}
    missing = 0
    for key, event in events.items():
        found = first.get(key)
        while found is not None and found[1] in reverted:
            key = key_after(event, key, found[1])
            found = first.get(key)
        if found is not None and found[0].payload == payload_of(event):
            continue
        missing += 1
        counts = reversible(event.meter) and event.meter != UNHEARD_OF and event.time < ahead
        if found is None and counts:
            yield "backfilled", f"{event} of {fact.subject} never counted"
    overtaken = told["sent"] - own
    if sum(told.values()) != len(events) or not 0 <= overtaken >= missing - told["refused"]:
        yield "backfilled", f"{fact.subject} says {told}: {own} sent, {missing} not there"


def _ahead_of(fact: Fact, witness: Witness) -> Instant:
    """Return from when on usage may have been ahead of what who committed a unit knew."""
    began = fact.recorded_at - cast(int, fact.body["took_ms"]) * (SECOND // 1000)
    ticks = sorted(tick.time for tick in witness.ticks.values() if tick.time <= began)
    return ticks[-_TICKS_BEFORE] if len(ticks) >= _TICKS_BEFORE else 0


def _reverted(fact: Fact, own: Sequence[Counted], returns: Returns) -> Iterator[Fault]:
    """Yield what counts of a unit that was taken back."""
    gone = {id(each.usage) for each in returns.taken}
    for each in own:
        if id(each) not in gone:
            yield "backfilled", f"{each} counts, and {fact.subject} was taken back"
    told = cast(Mapping[str, int], fact.body["reversals"])
    if sum(told.values()) != len(own):
        yield "backfilled", f"{fact.subject} says {told}, and had {len(own)}"


def _took_others(
    own: Mapping[str, Sequence[Counted]], witness: Witness, log: Log
) -> Iterator[Fault]:
    """Yield what was taken back with a unit that is none of its own."""
    for name, mine in own.items():
        job, keys = frozenset({name_of("revert", name)}), {each.key for each in mine}
        for each in witness.reversals:
            sent = witness.sent[log[each.partition][each.offset].value]
            if sent.jobs == job and each.key not in keys:
                yield "backfilled", f"{each} took back what {name} did not send"
