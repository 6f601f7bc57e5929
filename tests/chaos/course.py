"""The course of a run: faults from a seed under load, held against the oracle after each.

Between faults the load is quiet for as long as it takes to look; in the end every invoice, the
conservation equation and every seal are held too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from chaos.faults import Fault
from chaos.scene import Scene, Stalls
from integration import published, shop
from integration.commands import talea
from integration.running import RunningStack
from integration.story import Story
from pipeline.core.calendar import SECOND
from pipeline.workers.pausing import paused

Tell = Callable[[str], None]

_TWO_AT_ONCE = 0.25


@dataclass
class Row:
    """What one kind of fault did."""

    fault: str
    times: int = 0
    lost: int = 0
    doubled: int = 0
    minor_wrong: int = 0
    longest_stall_s: float = 0.0

    def __iadd__(self, other: "Row") -> "Row":
        self.times += other.times
        self.lost += other.lost
        self.doubled += other.doubled
        self.minor_wrong += other.minor_wrong
        self.longest_stall_s = max(self.longest_stall_s, other.longest_stall_s)
        return self

    @property
    def well(self) -> bool:
        return not (self.lost or self.doubled or self.minor_wrong)


@dataclass
class Report:
    """What a run showed. `wrong` is what was found beside the rows, in words."""

    seed: int
    seconds: float
    events: int
    documents: int
    restarts: int
    rows: Sequence[Row]
    wrong: Sequence[str]

    @property
    def well(self) -> bool:
        return not self.wrong and all(row.well for row in self.rows)


def difference(scene: Scene) -> Row:
    """Hold what is booked and billed against the oracle, once everything is through."""
    oracle, stack = scene.story.traffic.oracle, scene.stack
    want, have = oracle.used(), stack.used()
    row = Row("")
    for key in want.keys() | have.keys():
        due = want[key][0] if key in want else 0
        got = have[key].count if key in have else 0
        row.lost += max(0, due - got)
        row.doubled += max(0, got - due)
        if due == got and want[key][1:] != (have[key].sum, have[key].maximum):
            row.lost, row.doubled = row.lost + 1, row.doubled + 1
    row.minor_wrong = sum(abs(due - got) for due, got in _billed(stack, scene.story))
    return row


def _billed(stack: RunningStack, story: Story) -> Iterator[tuple[int, int]]:
    """Yield what each document and draft should come to, and does."""
    cycle = story.cycle_s * SECOND
    found: list[tuple[str, int, Mapping[str, Any]]] = [
        *((one.payer, one.instant, one.content) for one in stack.documents()),
        *((one.payer, one.instant, one.content) for one in stack.drafts()),
    ]
    for payer, instant, content in found:
        begun = story.start + (instant - 1 - story.start) // cycle * cycle
        due = shop.bill(story.traffic.oracle, payer, begun, instant, story.cycle_s)
        yield due, content["totals"]["total_minor"]


def plan(
    faults: Sequence[Fault], chance: Random, until: Callable[[], bool]
) -> Iterator[list[Fault]]:
    """Yield faults, every one before any comes again; some two at a time."""
    while True:
        left = chance.sample(faults, len(faults))
        while left:
            if until():
                return
            yield [left.pop() for _ in range(min(len(left), 1 + (chance.random() < _TWO_AT_ONCE)))]


def run(
    scene: Scene, blows: Iterator[list[Fault]], rows: dict[str, Row], tell: Tell = print
) -> None:
    """Strike under load; a row a kind of fault says what came of it."""
    with scene.story.load as load, Stalls(scene.stack) as stalls:
        scene.stack.await_booked()
        for struck in blows:
            stalls.begin()
            for fault in struck:
                tell(fault.name)
                fault.strike(scene)
            scene.stack.await_booked()
            with load.quiet():
                longest_s = stalls.longest_s
                scene.settle()
                found = difference(scene)
            name = " + ".join(fault.name for fault in struck)
            for fault in struck:
                row = rows.setdefault(fault.name, Row(fault.name))
                row.times += 1
                row.longest_stall_s = max(row.longest_stall_s, round(longest_s, 1))
            rows[struck[0].name] += found
            if not found.well:
                tell(f"WRONG after {name}: {found}")
                break


def close(scene: Scene) -> list[str]:
    """Let the story end; return in words what does not hold."""
    stack, story = scene.stack, scene.story
    scene.settle()
    story.end()
    stack.await_drained()
    published.await_published(stack)
    return [
        *_wrong_invoices(stack, story),
        *_wrong_counts(scene),
        *_wrong_commands(stack),
        *(f"paused: {one}" for one in paused(stack.around)),
        *stack.defects(),
        *_tracebacks(stack),
    ]


def _tracebacks(stack: RunningStack) -> Iterator[str]:
    """A server that goes away is told in a line; a page of code tells an operator nothing."""
    for log in sorted((stack.around.settings.home / "logs").glob("*.log")):
        if count := log.read_text("utf-8", "replace").count("Traceback (most recent"):
            yield f"{log.name} has {count} tracebacks"


def _wrong_invoices(stack: RunningStack, story: Story) -> Iterator[str]:
    oracle = story.traffic.oracle
    for begun, ended in story.periods():
        due = shop.bills(oracle, story.customers, begun, ended, story.cycle_s)
        if (found := stack.invoiced(ended)) != due:
            yield f"invoices of the period up to {ended} come to {found}, not {due}"


def _wrong_counts(scene: Scene) -> Iterator[str]:
    """Whoever sends anew what was not acknowledged sends duplicates that no oracle can know."""
    booked, due = scene.stack.counts(), scene.story.traffic.oracle.counts()
    for name in ("fresh", "conflict", "late", "rejected"):
        if getattr(booked, name) != due[name]:
            yield f"{name}: {getattr(booked, name)} booked, {due[name]} by the oracle"
    if booked.duplicate < due["duplicate"]:
        yield f"duplicate: {booked.duplicate} booked, {due['duplicate']} by the oracle"


def _wrong_commands(stack: RunningStack) -> Iterator[str]:
    for words in (["audit"], ["audit", "--deep"], ["verify", "--all", "--log"]):
        ran = talea(stack, *words, "--json")
        if ran.returncode:
            last = ran.stderr.rstrip().rpartition("\n")[2]
            yield f"talea {' '.join(words)} leaves with {ran.returncode}: {last}"
