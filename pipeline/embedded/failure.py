"""Embedded servers: the one failure they raise.

Owns: its wording, always one line that names the server, what happened, and what to do next.
Does not own: finding out what happened (child, jars, kafka, postgres, redis, servers).
"""

from __future__ import annotations

from pipeline.core.errors import ServerFailed

OWN_SERVERS = "name your own servers in TALEA_KAFKA, TALEA_REDIS and TALEA_POSTGRES"


class ServerFailure(ServerFailed):
    """A server could not be fetched, started, reached or kept; `str()` is one line."""

    def __init__(self, server: str, what: str, then: str) -> None:
        self.server = server
        self.what = " ".join(what.split())
        self.then = " ".join(then.split())
        super().__init__(f"{server}: {self.what}; {self.then}")


def reason(error: BaseException) -> str:
    """An error in a few words: an `OSError`'s text, else the first line of its own."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).splitlines() or [""])[0].strip()
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
