"""Errands: what jobs that people start have in common: how each is put together over memory.

Owns: sending usage again, waiting for a tick, decisions by the facts there are.
Does not own: the jobs themselves (workers), who starts them (operators.py, backfills.py).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from pipeline.catalog.facts import Fact, NewFact
from pipeline.collect.batch import UsageBatch
from pipeline.core.calendar import SECOND
from pipeline.core.errors import BadInput
from pipeline.simulate.jobs import ADA, announced, job
from pipeline.simulate.log import MemoryWriter
from pipeline.simulate.roles import Stage
from pipeline.simulate.story import Story
from pipeline.simulate.world import Runner
from pipeline.stores.records import open_message
from pipeline.workers.readmission import Machine, Readmission


@dataclass(slots=True)
class Errands:
    """Whoever starts jobs in one world."""

    stage: Stage
    story: Story

    def _decide(
        self, name: str, told: Callable[[Sequence[Fact]], list[NewFact]], counter: str
    ) -> None:
        """Write what a person decides by the facts there are, in a process of its own."""
        stage = self.stage
        with self._job(name) as process:
            stage.session(process).append_facts(told, ADA, stage.world.now)
            stage.world.counted[counter] += 1

    def _job(self, name: str) -> AbstractContextManager[Runner]:
        return job(self.stage, name)

    def _readmission(self, process: Runner, name: str = "") -> Readmission:
        """Begin a job that sends usage again; what it sends is noted as that of `name`.

        Raises:
            BadInput: another one runs.

        """
        stage, session = self.stage, self.stage.session(process)
        if not session.lock("readmission"):
            raise BadInput("another job is sending usage again")
        machine = Machine(
            writer=lambda: _Noted(stage.world, process, stage.topics, story=self.story, job=name),
            announced=partial(self._announced, process),
            clock=stage.clock(process),
            pause=partial(stage.world.wait, process),
            seconds=lambda: stage.world.now / SECOND,
        )
        return stage.parts.readmission(stage.around, stage.log(process), session, machine)

    def _announced(self, process: Runner, serial: int) -> None:
        announced(self.stage, process, serial)


@dataclass(slots=True)
class _Noted(MemoryWriter):
    """A writer whose batches the story takes down, for the auditor to know what they meant."""

    story: Story | None = None
    job: str = ""

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        event_count: int | None = None,
    ) -> None:
        """Queue one record."""
        batch = open_message(value)
        if self.story is not None and isinstance(batch, UsageBatch):
            self.story.sent_again(value, batch, self.job)
        MemoryWriter.send(self, topic, partition, value, key=key, event_count=event_count)


def quiet(_done: int, _of: int) -> None:
    """Tell nobody how far a job is."""
