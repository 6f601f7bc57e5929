"""A slice of `make chaos`: each kind of kill once, and what else servers can be shared with."""

from random import Random

import pytest

from chaos.course import Row, close, run
from chaos.faults import FAULTS, WORKERS
from chaos.scene import Scene
from fixtures_stack import StackMaker
from integration.story import GENERATIONS, SESSION_S, open_shop

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

SEED = 7
CYCLE_S, GRACE_S = 20, 12
"""Raw usage that a dead collector held up is in time for its period."""
LEFT_OUT = ("beyond its session", "two pricing workers", "a third metering worker", "locked")
"""test_kills.py has the first two, `make chaos` all."""


def test_every_kill_a_wipe_and_ended_connections_change_nothing(make_stack: StackMaker) -> None:
    stack = make_stack(session_s=SESSION_S, **GENERATIONS)
    stack.start(*WORKERS)
    story = open_shop(stack, SEED, cycle_s=CYCLE_S, grace_s=GRACE_S)
    chance = Random(SEED)
    faults = [
        fault for fault in FAULTS if not (fault.servers or any(x in fault.name for x in LEFT_OUT))
    ]
    chance.shuffle(faults)
    at_once = [faults[at : at + 3] for at in range(0, len(faults), 3)]

    with Scene.of(stack, story, chance) as scene:
        rows: dict[str, Row] = {}
        run(scene, iter(at_once), rows)
        assert [row for row in rows.values() if not row.well] == []
        assert {name: row.times for name, row in rows.items()} == {f.name: 1 for f in faults}
        assert close(scene) == []
