"""A replay of what is chosen: some customers, meters, places and times, prices as they were known;
several at once, stopped and gone on with.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.replays import told
from integration.running import RunningStack
from integration.traffic import customers_everywhere
from pipeline.collect.batch import Mode, pack_events
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.errors import ServerFailed
from pipeline.core.identity import partition_of
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.books import last_tick_offset
from pipeline.stores.postgres.database import Database
from pipeline.workers.replaying import diff_replay, drop_replay, list_replays, stop_replay
from pipeline.workers.shadowing import shadow_of

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

CYCLE_S, PERIODS = 5, 3
NAMES = customers_everywhere(4)
CHEAP, DEAR = 'amount: "10.00"', 'amount: "12.00"'


def test_what_is_chosen_is_replayed_alone(make_stack: StackMaker) -> None:
    stack, start = make_stack(), wall_clock() // SECOND * SECOND
    stack.start()
    stack.apply(sold(start, None))
    use(stack, start)
    stack.await_documents(len(NAMES))
    known = wall_clock()
    stack.apply(sold(start, None).replace(CHEAP, DEAR))
    periods = max(PERIODS, (wall_clock() - start) // (CYCLE_S * SECOND) + 2)
    stack.apply(sold(start, start + periods * CYCLE_S * SECOND).replace(CHEAP, DEAR))
    stack.await_documents(len(NAMES) * periods)
    stack.close_the_books()

    # from the end of the second period, which is in, to the last cut, which is not
    second, last = (start + number * CYCLE_S * SECOND for number in (2, periods))
    asked = ("--customers", f"{NAMES[0]},{NAMES[1]}", "--meters", "gigabytes")
    bounds = ("--from", instant_text(second), "--to", cut_at(stack, last))
    count = 2 * (periods - 2)
    beyond = talea(stack, "replay", "run", "beyond", "--to", f"{stack.around.partitions}:0")
    assert (beyond.returncode, beyond.stderr.count("this log has partitions 0 to")) == (2, 1)
    for option in ("--customers", "--meters"):
        nothing = talea(stack, "replay", "run", "nothing", option, "nobody")
        assert (nothing.returncode, nothing.stdout) == (2, "")
        assert f"{option}: nobody: no fact names any such" in nothing.stderr
    with ThreadPoolExecutor(2) as both:
        picked = both.submit(told, stack, "run", "picked", *asked, *bounds)
        earlier = both.submit(told, stack, "run", "earlier", "--as-known", instant_text(known))
        stack.until(lambda: len(list_replays(stack.around)) == len("ab"), "two replays are there")
        assert (picked.result()["identical"], picked.result()["documents"]) == (True, count)
        assert earlier.result()["identical"] is None
    diff: Any = diff_replay(stack.around, "earlier").json()
    assert {*diff["by_cause"]} == {"price_revision"}
    lines = [line for each in diff["invoices"] for line in each["lines"]]
    assert {line["name"] for line in lines} == {"Base fee"}
    assert {line["difference_minor"] for line in lines} == {-200}
    numbers = {each["number"] for each in diff["invoices"]}
    first = {d.sealed.number for d in stack.documents() if d.instant < second}
    assert numbers
    assert not numbers & first

    goes_on(stack, len(NAMES) * periods)
    for name in ("picked", "earlier", "again"):
        drop_replay(stack.around, name)
    assert list_replays(stack.around) == []


def test_a_replay_that_is_just_being_planted_is_not_listed_yet(make_stack: StackMaker) -> None:
    around = make_stack().around
    database = shadow_of(around, "new").database
    database.migrate()
    with database.session("test", owner=True) as session:
        session.execute("ALTER TABLE shadow DROP COLUMN copy")  # a migration is still to run
    assert list_replays(around) == []


def test_a_schema_is_there_whole_or_not_at_all(
    make_stack: StackMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looked between found one that nobody may use yet."""
    around = make_stack().around
    database = shadow_of(around, "half").database

    def fails(*_: object) -> bool:
        raise ServerFailed("no migration ran")

    monkeypatch.setattr(Database, "_apply", fails)
    with pytest.raises(ServerFailed, match="no migration ran"):
        database.migrate()
    with around.database.session("look") as look:
        found = look.execute("SELECT to_regnamespace(%s)", [database.schema]).fetchone()
    assert found == (None,)


def goes_on(stack: RunningStack, documents: int) -> None:
    """A copy that was stopped is gone on with, as it was asked for; how far it is is told."""
    with ThreadPoolExecutor(1) as beside:
        ran = beside.submit(talea, stack, "replay", "run", "again", "--partitions", "3")
        stack.until(
            lambda: any(e.running and e.name == "again" for e in list_replays(stack.around)),
            "it runs",
        )
        assert stop_replay(stack.around, "again")
        assert ran.result().returncode == 1
        assert "run it again to go on" in ran.result().stderr
    otherwise = talea(stack, "replay", "run", "again", "--partitions", "2")
    assert otherwise.returncode == 2
    assert "was begun otherwise" in otherwise.stderr
    ran_on = talea(stack, "replay", "run", "again", "--json")
    assert ran_on.returncode == 0
    outcome = json.loads(ran_on.stdout)
    assert (outcome["identical"], outcome["documents"]) == (True, documents)
    assert re.search(r"replay again: .*events, .* a second, \d+ s left", ran_on.stderr)
    assert re.search(r"replay again: making documents, \d+ periods, .* s left", ran_on.stderr)


def sold(start: Instant, end: Instant | None) -> str:
    return shop.catalog(NAMES, start, end, f"PT{CYCLE_S}S")


def cut_at(stack: RunningStack, instant: Instant) -> str:
    """Where the cuts of an instant stand, as an option says it."""
    cut = [each for each in stack.documents() if each.instant == instant]
    homes = {partition_of(each.payer, stack.around.partitions): each.cut_serial for each in cut}
    assert len(homes) == len(NAMES)
    found = homes.items()
    return ",".join(f"{p}:{last_tick_offset(stack.connection, p, s)}" for p, s in found)


def use(stack: RunningStack, start: Instant) -> None:
    """Something is used in every period."""
    for name in NAMES:
        home = partition_of(name, stack.around.partitions)
        used = [
            usage(name, f"{n}.125", meter="gigabytes", time=start + n * SECOND, id=str(n))
            for n in range(PERIODS * CYCLE_S)
        ]
        stack.write(home, encode_batch(pack_events(used, Mode.KEYED, "", "", 0)), len(used))
