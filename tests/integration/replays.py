"""Replays on a stack under test, as a person would ask for them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from integration.commands import talea
from integration.running import RunningStack
from pipeline.workers.replaying import drop_replay


def told(stack: RunningStack, *arguments: str, **environment: str) -> Any:
    """What a command about replays prints as JSON."""
    ran = talea(stack, "replay", *arguments, "--json", **environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


@contextmanager
def replayed(stack: RunningStack, name: str, *asked: str) -> Iterator[Any]:
    """What comes of a replay, which is dropped at the end."""
    try:
        yield told(stack, "run", name, *asked)
    finally:
        drop_replay(stack.around, name)
