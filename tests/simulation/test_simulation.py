"""The worker loops under every fault, seed by seed; and that the simulation can fail."""

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from pipeline.catalog.facts import FactKind
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND
from pipeline.core.errors import ServerFailed
from pipeline.simulate.database import MemoryDatabase
from pipeline.simulate.papers_session import WorkerSession
from pipeline.simulate.play import Outcome, Scale, play
from pipeline.simulate.roles import Parts
from pipeline.simulate.seeds import Failed, shrunk
from pipeline.simulate.story import Story
from pipeline.simulate.world import BEGIN, Chances, Streams, World
from simulation.defects import DEFECTS

pytestmark = [
    pytest.mark.timeout(600),  # seeds are work, not waiting: a busy machine takes long over them
    pytest.mark.filterwarnings(
        "ignore:coroutine .* was never awaited",  # of a process that was killed
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]

CHUNK = 10
played = cache(play)
"""Plays a seed once for whoever looks at what it came to."""
KINDS_IN = 40
"""Within how many seeds a fact of every kind is written."""
UNPLAYED: dict[FactKind, str] = {}
"""The kinds of facts that no seed writes, and why."""


@pytest.mark.parametrize("first", range(0, 120, CHUNK))
def test_no_seed_breaks_a_law(first: int) -> None:
    for seed in range(first, first + CHUNK):
        assert played(seed).violations == [], f"talea simulate --seeds 1 --seed {seed} --length 1"


def test_facts_of_every_kind_are_played() -> None:
    """Whatever people can decide meets every fault."""
    written = sum((played(seed).facts for seed in range(KINDS_IN)), Counter[FactKind]())

    assert {kind for kind in FactKind if not written[kind]} == set(UNPLAYED)


def test_a_world_whose_last_tick_comes_late_is_played_until_its_cuts_are_issued() -> None:
    """In this one somebody skips a message when all else is over, and has the fact named."""
    assert play(967).violations == []


def test_a_price_that_changes_and_comes_to_the_same_is_not_told_early() -> None:
    """In this one an early document would have one line more: a fee, less it at another rate."""
    assert play(4246, Scale(length=0.25)).violations == []


def test_what_was_acked_before_it_was_skipped_is_read_again() -> None:
    """In this one a worker that was overtaken acks messages behind a pause; one is skipped then."""
    assert play(6756, Scale(length=0.25)).violations == []


def test_a_unit_of_old_usage_may_hold_some_that_is_ahead() -> None:
    """In this one an event of a backfill is of the next second, and refused."""
    assert play(4027).violations == []


def test_what_waits_in_the_place_of_a_void_document_says_what_was_edited_on_that() -> None:
    """In this one events are missing when an edited document is voided and issued anew."""
    assert play(347).violations == []


def test_a_seed_plays_again_to_the_last_effect() -> None:
    assert play(7) == play(7)
    assert play(7).trace != play(8).trace


def messages_of(reversing: float) -> list[tuple[int, list[UsageEvent]]]:
    """Return what a story sends, but for what takes usage back and what it takes back."""
    story = Story(Streams(5), 2)
    story.reversing = reversing
    story.decisions.first()
    found = []
    for number in range(200):
        partition, kept = story.message(BEGIN + number * SECOND)
        sent = story.sent.get(kept.value)
        events = sent.events if sent else ()
        plain = [e for e in events if e.reversed_at is None and not e.id.startswith("coming")]
        found.append((partition, plain))
    return found


def test_a_feature_of_the_story_shifts_no_other() -> None:
    assert messages_of(0.0) == messages_of(0.15)


def test_what_a_seed_goes_through_is_worth_the_name() -> None:
    """Faults that are drawn and never happen would show nothing."""
    counted = [play(seed).counted for seed in range(12)]

    for name in ("crashes", "failures", "stalls", "rebalances", "rewinds", "redis_losses", "gaps"):
        assert sum(each.get(name, 0) for each in counted) > 3, name


def test_a_session_that_the_server_ended_serves_nobody() -> None:
    """Its process may go on in another session, as one that seals does while it reads facts."""
    world = World(0, Chances().scaled(0))
    session = WorkerSession(MemoryDatabase(world), world.start("finalizer"))

    session.close()

    with pytest.raises(ServerFailed):
        session.read_documents()


def first_caught(parts: Parts, seeds: int) -> Outcome | None:
    """Return the first of some seeds that shows what is wrong with parts."""
    outcomes = (play(seed, parts=parts) for seed in range(seeds))
    return next((outcome for outcome in outcomes if outcome.violations), None)


@pytest.mark.parametrize(("parts", "seeds"), DEFECTS.values(), ids=DEFECTS)
def test_a_planted_defect_is_seen(parts: Parts, seeds: int) -> None:
    assert first_caught(parts, seeds) is not None


def test_a_failing_seed_is_shrunk_and_still_fails() -> None:
    parts, seeds = DEFECTS["the newest payload wins"]
    outcome = first_caught(parts, seeds)
    assert outcome is not None

    found = shrunk(Failed(outcome, Scale()), parts)

    again = play(outcome.seed, found.scale, parts)
    assert again == found.outcome
    assert again.violations[0].law == outcome.violations[0].law
    assert again.events < outcome.events
    assert found.replay.startswith(f"talea simulate --seeds 1 --seed {outcome.seed} --")


def test_without_faults_nothing_dies() -> None:
    outcome = play(3, replace(Scale(), faults=0.0))

    assert outcome.violations == []
    assert not outcome.counted.keys() & {"crashes", "failures", "stalls", "redis_losses"}
