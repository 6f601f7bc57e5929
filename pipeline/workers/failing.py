"""Failing: what a worker dies of when a server fails it, in one line.

Owns: which exceptions are a server's failure, and no message's or code's fault.
Does not own: starting again (supervisor.py), what a death is blamed on (holding.py).
Law: a server that goes away is told in one line; what nobody had thought of is not taken for one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import aiokafka.errors
import confluent_kafka
from redis.exceptions import RedisError

from pipeline.core.errors import ServerFailed
from pipeline.stores.postgres.connection import Unreachable

PASSING = (
    ServerFailed,
    OSError,
    RedisError,
    aiokafka.errors.KafkaError,
    confluent_kafka.KafkaException,
    *Unreachable,
)
"""A server's failure, which is no message's fault: it may pass by itself."""


def told(error: BaseException) -> str:
    """Return one line for a person."""
    if isinstance(error, ServerFailed):
        return str(error)
    line = next(iter(str(error).splitlines()), "")
    return f"{_server(error)} failed this worker ({type(error).__name__}: {line})"


def _server(error: BaseException) -> str:
    if isinstance(error, Unreachable):
        return "Postgres"
    if isinstance(error, RedisError):
        return "Redis"
    if isinstance(error, aiokafka.errors.KafkaError | confluent_kafka.KafkaException):
        return "Kafka"
    return "the system"


@contextmanager
def servers_told() -> Iterator[None]:
    """Turn what clients say of a server that failed into one line.

    Raises:
        ServerFailed: a server failed.

    """
    try:
        yield
    except PASSING as error:
        raise ServerFailed(told(error)) from None
