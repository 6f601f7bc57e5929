"""What is planted into a copy of the log, or into the rules, is found by a replay: in every
document that it touches, in no other, to the cent, under its cause.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.replays import told
from integration.running import RunningStack
from integration.traffic import customers_everywhere
from oracle import minor, per_unit
from pipeline.catalog.facts import FactKind
from pipeline.collect.batch import Mode, pack_events
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.identity import partition_of
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.kafka import KafkaLog, LogRecord
from pipeline.stores.postgres.facts import read_facts
from pipeline.workers.replaying import Asked, diff_replay, drop_replay, list_replays, run_replay

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

CYCLE_S = 12
GERMAN, STANDARD, REDUCED = "tax: {country: DE}", "19", "7"
REQUEST_MINOR = 5
"""What one of a few requests comes to."""
GIGABYTE = "0.1275"

CHANGED, LATE, REMOVED, REVERSED, *_OTHERS = NAMES = customers_everywhere(4, each=2)
CAUSES = {
    CHANGED: "usage_changed",
    LATE: "late_usage",
    REMOVED: "duplicate_removed",
    REVERSED: "reversal",
}
ROUNDING = """
import pipeline.core.quantity as quantity
quantity.rounded_ratio = lambda numerator, denominator: numerator // denominator
"""
"""Another rule: what is below a minor unit is cut off."""


@dataclass(frozen=True)
class Altered(KafkaLog):
    """The log as it would be if some messages were others, each with its count of events."""

    instead: Mapping[bytes, tuple[bytes, int]]

    def read_range(self, name: str, partition: int, start: int, end: int) -> Iterator[LogRecord]:
        for record in super().read_range(name, partition, start, end):
            value, count = self.instead.get(record.value, (record.value, record.event_count))
            yield replace(record, value=value, event_count=count)


def packed(*events: UsageEvent) -> tuple[bytes, int]:
    """A message with these events, and their count."""
    return encode_batch(pack_events(events, Mode.KEYED, "", "", 0)), len(events)


def requests(name: str, time: Instant, count: int = 3) -> list[UsageEvent]:
    return [usage(name, meter="requests", time=time, id=f"r{n}") for n in range(count)]


def gigabytes(name: str, time: Instant, more: int = 0) -> UsageEvent:
    used = f"{more + NAMES.index(name)}.4"
    return usage(name, used, meter="gigabytes", time=time, id="g")


def test_what_is_planted_is_found_and_named(make_stack: StackMaker, tmp_path: Path) -> None:
    stack, start = make_stack(), wall_clock() // SECOND * SECOND
    stack.start()
    stack.apply(sold(start))
    time = start + 3 * SECOND
    back = replace(requests(REVERSED, time)[0], reversed_at=time)
    for name in NAMES:
        send(stack, name, *requests(name, time))
        send(stack, name, gigabytes(name, time))
    send(stack, REVERSED, back)
    stack.until(lambda: matched(stack), "a reversal is matched")
    stack.await_documents(len(NAMES))
    stack.close_the_books()
    billed = stack.invoiced()
    assert billed == {name: taxed(net(name, 3 - (name == REVERSED)), STANDARD) for name in NAMES}

    events_are_named(stack, time, back)
    tax_is_named(stack, start, tmp_path / "reduced.yaml")
    rounding_is_named(stack, tmp_path)
    assert stack.invoiced() == billed
    assert list_replays(stack.around) == []


def sold(start: Instant) -> str:
    """The shop's catalog, in Germany."""
    found = shop.catalog(NAMES, start, start + CYCLE_S * SECOND, f"PT{CYCLE_S}S")
    seller = f"number_prefix: S-, {GERMAN[:-1]}, vat_id: DE136695976}}"
    return found.replace("number_prefix: S-", seller).replace("profile:", f"{GERMAN}, profile:")


def send(stack: RunningStack, name: str, *events: UsageEvent) -> None:
    stack.write(partition_of(name, stack.around.partitions), *packed(*events))


def matched(stack: RunningStack) -> bool:
    return any(fact.kind is FactKind.MATCH for fact in read_facts(stack.connection, 0))


def net(name: str, count: int, gigabytes_more: int = 0) -> int:
    """What a customer owes before taxes for so many requests."""
    used = Fraction(gigabytes(name, 0, gigabytes_more).value)
    return 1000 + REQUEST_MINOR * count + per_unit(GIGABYTE, used)


def taxed(net_minor: int, percent: str) -> int:
    return net_minor + minor(Fraction(net_minor, 100) * Fraction(percent) / 100)


def events_are_named(stack: RunningStack, time: Instant, back: UsageEvent) -> None:
    """One event has another value, one is more, one less, one is not taken back."""
    instead = {
        packed(gigabytes(CHANGED, time)): packed(gigabytes(CHANGED, time, more=100)),
        packed(*requests(LATE, time)): packed(*requests(LATE, time, 4)),
        packed(*requests(REMOVED, time)): packed(*requests(REMOVED, time, 2)),
        packed(back): packed(replace(back, meter="no_meter")),
    }
    log = Altered(stack.around.kafka, {was: now for (was, _), now in instead.items()})
    asked = Asked({}).of_copy(stack.around.partitions)
    outcome = run_replay(stack.around, "planted", asked, 1, lambda _: None, log)
    assert (outcome.identical, outcome.documents) == (False, len(NAMES))
    before = {**{name: net(name, 3) for name in CAUSES}, REVERSED: net(REVERSED, 2)}
    after = {
        CHANGED: net(CHANGED, 3, 100),
        LATE: net(LATE, 4),
        REMOVED: net(REMOVED, 2),
        REVERSED: net(REVERSED, 3),
    }
    minors = {
        name: (taxed(before[name], STANDARD), taxed(after[name], STANDARD)) for name in CAUSES
    }
    diff = told(stack, "diff", "planted")
    keeps_its_contract(diff, minors, CAUSES)
    (line,) = next(each for each in diff["invoices"] if each["customer"] == CHANGED)["lines"]
    assert line["meter"] == "gigabytes"

    ran = talea(stack, "replay", "run", "planted", "--json")  # it is through: only compared again
    assert ran.returncode == 1
    again = json.loads(ran.stdout)
    assert (again["identical"], sorted(again["differing"])) == (False, sorted(outcome.differing))
    assert f"4 of {len(NAMES)} documents differ" in ran.stderr
    drop_replay(stack.around, "planted")


def keeps_its_contract(
    diff: Any, minors: Mapping[str, tuple[int, int]], causes: Mapping[str, str]
) -> None:
    """Every field of a diff says what is expected, and figures add up at every level."""
    assert {*diff} == {
        "diff_id",
        "waiting",
        "invoices",
        "total_difference_minor",
        "by_cause",
        "customers_touched",
    }
    assert diff["waiting"] == 0
    assert diff["customers_touched"] == len(minors) == len(diff["invoices"])
    by_cause: dict[str, int] = {}
    for each in diff["invoices"]:
        before, after = minors[each["customer"]]
        cause = causes[each["customer"]]
        assert (each["before_minor"], each["after_minor"]) == (before, after)
        assert each["currency"] == "EUR"
        assert each["number"].startswith("S-")
        for one in (each, *each["lines"]):
            assert one["difference_minor"] == one["after_minor"] - one["before_minor"]
            assert sum(c["difference_minor"] for c in one["causes"]) == one["difference_minor"]
        assert [c["cause"] for c in each["causes"]] == [cause]
        assert sum(line["difference_minor"] for line in each["lines"]) == after - before
        by_cause[cause] = by_cause.get(cause, 0) + after - before
    assert diff["by_cause"] == {cause: {"EUR": by} for cause, by in by_cause.items() if by}
    total = sum(by_cause.values())
    assert diff["total_difference_minor"] == ({"EUR": total} if total else {})


def tax_is_named(stack: RunningStack, start: Instant, file: Path) -> None:
    """The same is sold at another rate of tax."""
    file.write_text(sold(start).replace("currency: EUR", "currency: EUR\n    tax_code: reduced"))
    ran = told(stack, "run", "taxed", "--catalog", str(file))
    assert ran["identical"] is None
    nets = {name: net(name, 3 - (name == REVERSED)) for name in NAMES}
    minors = {name: (taxed(own, STANDARD), taxed(own, REDUCED)) for name, own in nets.items()}
    keeps_its_contract(
        diff_replay(stack.around, "taxed").json(), minors, dict.fromkeys(NAMES, "tax")
    )
    drop_replay(stack.around, "taxed")


def rounding_is_named(stack: RunningStack, folder: Path) -> None:
    """Workers round by another rule: the same usage at the same price comes to less."""
    (folder / "sitecustomize.py").write_text(ROUNDING)
    ran = talea(stack, "replay", "run", "rounded", "--json", PYTHONPATH=str(folder))
    assert ran.returncode == 1
    diff: Any = diff_replay(stack.around, "rounded").json()
    assert json.loads(ran.stdout)["differing"] == [each["number"] for each in diff["invoices"]]
    nets = {name: net(name, 3 - (name == REVERSED)) for name in NAMES}
    cut = {name: own + cut_off(name) for name, own in nets.items()}
    minors = {
        name: (taxed(nets[name], STANDARD), cut[name] + cut[name] * int(STANDARD) // 100)
        for name in NAMES
    }
    touched = {name: both for name, both in minors.items() if both[0] != both[1]}
    assert {
        e["customer"]: (e["before_minor"], e["after_minor"]) for e in diff["invoices"]
    } == touched
    named = {e["customer"]: {c["cause"] for c in e["causes"]} for e in diff["invoices"]}
    assert all(
        "rule_version" in causes if cut_off(name) else causes == {"tax"}
        for name, causes in named.items()
    )
    assert any(map(cut_off, NAMES))
    drop_replay(stack.around, "rounded")


def cut_off(name: str) -> int:
    """What rounding down makes of a customer's gigabytes beyond what rounding does: 0 or -1."""
    exact = Fraction(gigabytes(name, 0).value) * Fraction(GIGABYTE) * 100
    return int(exact) - per_unit(GIGABYTE, Fraction(gigabytes(name, 0).value))
