"""An event loop without clock, threads or sockets: its callbacks are entries of the world.

Owns: what asyncio asks of a loop for tasks, futures, queues and sleeping.
Law: callbacks of one process run in the order they were made, as on any loop.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeVar

from pipeline.core.calendar import SECOND, Instant
from pipeline.simulate.world import Runner, World

T = TypeVar("T")


class _Planned(asyncio.TimerHandle):
    """A callback to come. What asyncio's own handles keep for debugging nobody asks for here."""

    __slots__ = ("call",)

    def __init__(
        self, call: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.call: Callable[[], object] | None = partial(
            (context or copy_context()).run, call, *args
        )

    def cancel(self) -> None:
        """Leave it where it stands: it does nothing."""
        self.call = None

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self.call is None


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The loop of one process."""

    def __init__(self, world: World, process: Runner) -> None:
        """Run in `world`, as long as `process` lives."""
        self._world, self._process = world, process

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Plan a callback for now."""
        return self._plan(self._world.now, _Planned(callback, args, context))

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Plan a callback in `delay` seconds."""
        when = round((self._world.now / SECOND + delay) * SECOND)
        return self._plan(when, _Planned(callback, args, context))

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Plan a callback for a time."""
        return self._plan(round(when * SECOND), _Planned(callback, args, context))

    def _plan(self, instant: Instant, planned: _Planned) -> _Planned:
        if self._process.alive:  # else this is the collector, clearing up whenever it likes
            self._world.at(instant, self._process, partial(self._run, planned))
        return planned

    def _run(self, planned: _Planned) -> None:
        if planned.call is None:
            return
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            planned.call()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.call_exception_handler({"exception": error})
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
