"""Copying a log: what its facts say of places there, and which partition counts it may not have."""

from typing import Any, cast

import numpy as np
import pytest

from builders import (
    T0,
    Decision,
    customer_of,
    facts,
    gate_pass_of,
    keyed,
    log_of,
    meter_of,
    sub_account_of,
    usage,
)
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import skip_fact
from pipeline.catalog.matches import EventPlace, Match, match_facts
from pipeline.collect.batch import Mode
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.limits import BATCH_BYTES_MAX, BATCH_EVENTS_MAX
from pipeline.collect.repacking import Cut, Origin, Repacker
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json, partition_of
from pipeline.meter.ticks import NO_TICK, Tick
from pipeline.replay.copying import Copier, check_homes, log_body, moved_bodies, named_places
from pipeline.stores.codec import encode_batch

ONE, OTHER = (
    Match(EventPlace(7, 0), EventPlace(5, 3), 1),
    Match(EventPlace(8, 1), EventPlace(5, 4), 0),
)
GONE = Match(EventPlace(99, 0), EventPlace(5, 3), 1)
LATE = keyed(usage(id="old"))


def decided() -> list[Decision]:
    matched = match_facts(1, [ONE, OTHER, GONE])
    told = [*matched, skip_fact(1, 6)]
    decisions = [(each.kind, each.subject, dict(each.body)) for each in told]
    return [log_of(2), meter_of("calls"), *decisions, gate_pass_of(LATE, until=T0)]


def test_facts_that_name_places_name_those_of_the_copy() -> None:
    found = facts(*decided())
    copier = Copier("copy", "again", 3, 10, named_places(found))
    assert (1, EventPlace(5, 3)) in copier.wanted
    copier.places |= {
        (1, ONE.reversal): (2, EventPlace(4, 9)),
        (1, ONE.original): (2, EventPlace(3, 8)),
        (1, OTHER.reversal): (0, EventPlace(1, 0)),
        (1, OTHER.original): (0, EventPlace(1, 7)),
    }
    copier.passes[found[-1].id] = {"ff"}

    bodies = moved_bodies(found, copier)
    bodies = {**bodies, 1: log_body(found[0].body, 3)}
    copied = [(each, bodies.get(each.serial, each.body)) for each in found]
    catalog = extend(Catalog(), facts(*((e.kind, e.subject, dict(body)) for e, body in copied)))
    named = [catalog.matches_between(p, NO_TICK, Tick(1, T0, len(found))) for p in range(3)]
    assert named == [
        [Match(EventPlace(1, 0), EventPlace(1, 7), 0)],
        [],
        [Match(EventPlace(4, 9), EventPlace(3, 8), 1)],  # what was not copied is told nowhere
    ]
    assert bodies[4] == {"partition": -1, "offset": -1}
    batches = cast("list[Json]", bodies[5]["batches"])
    assert sorted(map(str, batches)) == batches
    assert {"ff", *cast("list[str]", found[-1].body["batches"])} == {*batches}
    assert (catalog.parameters.partitions, catalog.parameters.copied) == (3, True)
    assert catalog.ground(2).copied


@pytest.mark.parametrize(("partitions", "parts"), [(2, False), (1, False), (4, False), (3, True)])
def test_a_sub_account_stays_with_its_payer(partitions: int, parts: bool) -> None:
    names = (f"s{number}" for number in range(1000))
    homes = {count: partition_of("parent", count) for count in (3, 4)}
    sub = next(
        name
        for name in names
        if partition_of(name, 4) == homes[4] and partition_of(name, 3) != homes[3]
    )
    found = facts(log_of(4), customer_of("parent"), sub_account_of(sub, "parent"))
    if parts:
        with pytest.raises(BadInput, match=f"parts {sub} from parent.* 4 is a multiple of"):
            check_homes(found, partitions)
    else:
        check_homes(found, partitions)


def test_batches_are_packed_together_no_further_than_a_batch_may_be_large() -> None:
    sent = [
        keyed(*(usage(id=f"{n}-{at}", **noted(100 * n + at)) for at in range(100)))
        for n in range(4)
    ]
    made, packer = [], Repacker(Mode.KEYED, "")
    for offset, batch in enumerate(sent):
        columns = read_columns(batch)
        assert isinstance(columns, Columns)
        cut = Cut(Origin(0, offset), batch, columns, np.arange(batch.event_count))
        if not packer.takes(cut, BATCH_EVENTS_MAX):
            made.append(packer.take("", "", 0))
            packer = Repacker(Mode.KEYED, "")
        packer.add(cut)
    made.append(packer.take("", "", 0))
    sizes = [len(encode_batch(batch)) for batch in (*sent, *made)]
    assert max(sizes) <= BATCH_BYTES_MAX < sum(sizes[: len(sent)])
    assert 1 < len(made) < len(sent)
    assert sum(batch.event_count for batch in made) == sum(batch.event_count for batch in sent)


def noted(number: int) -> dict[str, Any]:
    """Dimensions of some 900 bytes that no other event has."""
    return {f"note-{at}": f"{number} " + "x" * 200 for at in range(4)}
