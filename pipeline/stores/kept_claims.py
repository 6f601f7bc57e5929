"""What Redis keeps of claims: how much they take, and forgetting them.

Owns: counting and deleting.  Does not own: making and judging claims (claims.py).
Law: claims are a cache of the log: whatever is forgotten is made again out of it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis
from redis.exceptions import RedisError

from pipeline.core.errors import ServerFailed
from pipeline.topology import Stack


@dataclass(frozen=True, slots=True)
class KeptClaims:
    """One generation of one partition: its keys, and the bytes Redis says they take."""

    partition: int
    generation: int
    keys: int
    bytes: int


@contextmanager
def _client(url: str) -> "Iterator[redis.Redis]":
    try:
        with redis.Redis.from_url(url) as client:
            yield client
    except (OSError, RedisError) as error:
        raise ServerFailed(f"Redis does not answer ({error}): is the stack up?") from None


def forget_claims(url: str, stack: Stack, partitions: Iterable[int]) -> int:
    """Delete the claims of partitions, watermarks and all; return how many keys were claimed.

    Raises:
        ServerFailed: Redis does not answer.

    """
    claimed = 0
    with _client(url) as client:
        for number in partitions:
            names = list(client.scan_iter(match=stack.claims_pattern(number), count=1000))
            with client.pipeline(transaction=True) as at_once:
                # A worker that began to make them again in between would lose some, unnoticed.
                for name in names:
                    at_once.hlen(name)
                at_once.unlink(stack.watermark_key(number), *names)
                claimed += sum(at_once.execute()[:-1])
    return claimed


def kept_claims(url: str, stack: Stack, partitions: Iterable[int]) -> list[KeptClaims]:
    """Return what every generation of every partition takes.

    Raises:
        ServerFailed: Redis does not answer.

    """
    found = []
    with _client(url) as client:
        for number in partitions:
            for name in client.scan_iter(match=stack.claims_pattern(number), count=1000):
                generation = int(bytes(name).rpartition(b":")[2])
                keys, size = client.hlen(name), client.memory_usage(name)
                found.append(KeptClaims(number, generation, int(keys), int(size or 0)))
    return sorted(found, key=lambda kept: (kept.partition, kept.generation))
