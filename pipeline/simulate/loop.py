"""An event loop without clock, threads or sockets: its callbacks are entries of the world.

Owns: what asyncio asks of a loop for tasks, futures, queues and sleeping.
Law: callbacks of one process run in the order they were made, as on any loop.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from pipeline.core.calendar import SECOND, Instant
from pipeline.simulate.world import Runner, World

T = TypeVar("T")


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The loop of one process."""

    def __init__(self, world: World, process: Runner) -> None:
        """Run in `world`, as long as `process` lives."""
        self._world, self._process = world, process

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Plan a callback for now."""
        handle = asyncio.Handle(callback, args, self, context)
        self._plan(self._world.now, handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Plan a callback in `delay` seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Plan a callback for a time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._plan(round(when * SECOND), handle)
        return handle

    def _plan(self, instant: Instant, handle: asyncio.Handle) -> None:
        if self._process.alive:  # else this is the collector, clearing up whenever it likes
            self._world.at(instant, self._process, partial(self._run, handle))

    def _run(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(outer)

    def time(self) -> float:
        """Return the world's time in seconds."""
        return self._world.now / SECOND

    def create_future(self) -> "asyncio.Future[Any]":
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Any = None
    ) -> "asyncio.Task[T]":
        """Run a coroutine."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def get_debug(self) -> bool:
        """Return that nobody debugs."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Ignore what asyncio says of tasks whose process was killed."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave a cancelled timer where it stands: it does nothing."""
