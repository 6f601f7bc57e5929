"""Replays on a stack under test, as a person would ask for them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from integration.commands import talea_within
from integration.running import RunningStack
from pipeline.workers.replaying import drop_replay


def told(stack: RunningStack, *arguments: str, patience_s: float = 100) -> Any:
    """What a command about replays prints as JSON."""
    ran = talea_within(patience_s, stack, "replay", *arguments, "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


@contextmanager
def replayed(stack: RunningStack, name: str, *asked: str, patience_s: float = 100) -> Iterator[Any]:
    """What comes of a replay, which is dropped at the end."""
    try:
        yield told(stack, "run", name, *asked, patience_s=patience_s)
    finally:
        drop_replay(stack.around, name)
