"""What claims take in Redis, and what forgetting a generation of them costs: figures, printed.

`make claims` measures five million keys; the suite a slice of it.
"""

import asyncio
import os
from pathlib import Path
from time import monotonic

import pytest
import redis

from integration.own_redis import OwnRedis
from pipeline.core.identity import FINGERPRINT_BYTES, KEY_BYTES
from pipeline.dedupe.claims import Delivery, Judged
from pipeline.stores.claims import RedisClaims
from pipeline.stores.kept_claims import kept_claims
from pipeline.topology import Stack

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

KEYS = int(os.environ.get("TALEA_CLAIMED_KEYS", "200000"))
BATCH = 2000
BYTES_A_KEY_MAX = 120
WAIT_S_MAX = 30.0
"""Of anybody's claim while a generation goes: far above what is measured, for slow machines."""
PATIENCE_S = 60.0


def delivery(offset: int, generation: int, count: int = BATCH) -> Delivery:
    keys, prints = os.urandom(count * KEY_BYTES), bytes(count * FINGERPRINT_BYTES)
    return Delivery(offset, offset, generation, range(count), keys, prints)


def told(client: "redis.Redis", name: str) -> int:
    """What Redis says of its memory."""
    return int(client.info("memory")[name])


async def longest_wait(claims: RedisClaims, offset: int, until: "asyncio.Task[None]") -> float:
    """Claim one small batch after the other while something goes on; return the longest wait."""
    worst = 0.0
    while not until.done():
        started = monotonic()
        assert isinstance(await claims.claim(0, delivery(offset, 9, 100)), Judged)
        worst, offset = max(worst, monotonic() - started), offset + 1
        await asyncio.sleep(0.005)
    until.result()
    return worst


async def forget(claims: RedisClaims, client: "redis.Redis") -> None:
    """Drop the generation; return once its memory is free."""
    await claims.drop(0, [1])
    while await asyncio.to_thread(told, client, "lazyfree_pending_objects"):
        await asyncio.sleep(0.02)


async def measured(url: str, client: "redis.Redis") -> dict[str, float]:
    """Claim, forget, and claim meanwhile."""
    stack = Stack(prefix="kept.")
    claims = RedisClaims(url, stack)
    await claims.open()
    await claims.start_at(0, 0)
    empty, batches = told(client, "used_memory"), KEYS // BATCH
    started = monotonic()
    for offset in range(batches):
        await claims.claim(0, delivery(offset, 1))
    claimed_s, full = monotonic() - started, told(client, "used_memory")
    (kept,) = kept_claims(url, stack, [0])
    assert kept.keys == batches * BATCH

    started = monotonic()
    forgetting = asyncio.create_task(forget(claims, client))
    worst_s = await longest_wait(claims, batches, forgetting)
    freed_s = monotonic() - started
    assert [one.generation for one in kept_claims(url, stack, [0])] == [9]
    assert told(client, "used_memory") - empty < (full - empty) / 2
    await claims.close()
    return {
        "keys": kept.keys,
        "bytes_a_key": (full - empty) / kept.keys,
        "bytes_a_key_told": kept.bytes / kept.keys,
        "claims_a_s": kept.keys / claimed_s,
        "memory_back_s": freed_s,
        "longest_wait_of_a_claim_s": worst_s,
    }


def test_a_generation_goes_while_claims_go_on(tmp_path: Path) -> None:
    with (
        OwnRedis(tmp_path) as server,
        redis.Redis.from_url(server.url, socket_timeout=PATIENCE_S) as client,
    ):
        found = asyncio.run(measured(server.url, client))
    print({name: round(figure, 4) for name, figure in found.items()})

    assert found["bytes_a_key"] < BYTES_A_KEY_MAX
    assert abs(found["bytes_a_key"] / found["bytes_a_key_told"] - 1) < 0.3  # what `doctor` says
    assert found["memory_back_s"] < PATIENCE_S
    assert found["longest_wait_of_a_claim_s"] < WAIT_S_MAX
