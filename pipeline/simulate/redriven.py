"""Redriven: what became of rejected events, as the auditor reads facts.

Owns: that what was said to be sent again was, and that what was given up was not.
Does not own: what of it counts then (witness.py), who sends (operators.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.simulate.log import Kept
from pipeline.simulate.witness import Name, Witness, name_of

Fault = tuple[str, str]
"""(law, detail)."""


def redriven_faults(
    facts: Iterable[Fact], witness: Witness, log: Sequence[Sequence[Kept]]
) -> Iterator[Fault]:
    """Yield what was said to be sent again and was not, or to stand and does not count.

    Of two letters of one event a job sends the first; what it sends may be refused anew. What was
    given up before is not sent.
    """
    counting = [*witness.counted, *witness.reversals]
    counted = {name_of(each.key, each.event) for each in counting}
    again, waived = witness.again, set[str]()
    for fact in facts:
        if fact.kind is FactKind.WAIVER:
            waived.update(_ids(fact))
        if fact.kind is not FactKind.REDRIVE:
            continue
        if given_up := waived.intersection(_ids(fact)):
            yield "redriven", f"{sorted(given_up)} were given up before fact {fact.serial}"
        told = again if fact.body["outcome"] == "sent" else counted | again
        for name in cast(list[str], fact.body["events"]):
            for each in _named(name, witness, log):
                if each not in told:
                    yield "redriven", f"{name} is not {fact.body['outcome']}"


def _ids(fact: Fact) -> Iterator[str]:
    """Yield the events that a fact names, one by one."""
    for name in cast(list[str], fact.body["events"]):
        message, _, numbers = name.rpartition(":")
        first, _, last = numbers.partition("-")
        yield from (f"{message}:{at}" for at in range(int(first), int(last or first) + 1))


def _named(name: str, witness: Witness, log: Sequence[Sequence[Kept]]) -> list[Name]:
    """Return the events that a fact names: usage:PARTITION:OFFSET:FIRST-LAST."""
    _, partition, offset, numbers = name.split(":")
    first, _, last = numbers.partition("-")
    message = log[int(partition)][int(offset)].value
    sent, places = witness.sent[message], range(int(first), int(last or first) + 1)
    return [name_of(sent.keys[at], sent.events[at]) for at in places]
