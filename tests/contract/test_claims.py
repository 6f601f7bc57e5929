"""One suite over the rule of claims and its Redis script: same deliveries, same answers."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import closing
from random import Random
from secrets import token_hex
from typing import Protocol, TypeVar

import pytest
import redis

from pipeline.core.errors import BrokenInvariant, ServerFailed
from pipeline.core.identity import event_key
from pipeline.dedupe.claims import Behind, ClaimBook, Delivery, Judged, Verdict
from pipeline.embedded import Servers
from pipeline.stores.claims import RedisClaims
from pipeline.stores.kept_claims import forget_claims
from pipeline.topology import Stack

pytestmark = pytest.mark.servers

T = TypeVar("T")

PAID, OTHER = b"paid", b"othr"
PARTITION = 3


class Claims(Protocol):
    """What both sides answer."""

    def claim(self, delivery: Delivery) -> Judged | Behind: ...
    def drop(self, generation: int) -> None: ...


class OverRedis:
    """The claims of one partition of a stack of its own, asked one after the other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._store = RedisClaims(url, Stack(prefix=f"c{token_hex(4)}."))
        self._do(self._store.open())
        self._do(self._store.start_at(PARTITION, 0))

    def claim(self, delivery: Delivery) -> Judged | Behind:
        return self._do(self._store.claim(PARTITION, delivery))

    def claim_at_once(self, deliveries: list[Delivery]) -> list[Judged | Behind]:
        """Send every claim before the first answer is looked at."""

        async def all_in_flight() -> list[Judged | Behind]:
            answers = [await self._store.begin(PARTITION, delivery) for delivery in deliveries]
            return [await answer for answer in answers]

        return self._do(all_in_flight())

    def drop(self, generation: int) -> None:
        self._do(self._store.drop(PARTITION, range(generation)))

    def run(self, *words: str) -> object:
        """Run any command of Redis on a connection of its own."""
        with redis.Redis.from_url(self._url) as client:
            return client.execute_command(*words)

    def close(self) -> None:
        self._do(self._store.close())
        self._loop.close()

    def _do(self, call: Coroutine[object, object, T]) -> T:
        return self._loop.run_until_complete(call)


@pytest.fixture
def redis_claims(servers: Servers) -> Iterator[OverRedis]:
    with closing(OverRedis(servers.redis)) as claims:
        yield claims


@pytest.fixture(params=["the rule", "Redis"])
def claims(request: pytest.FixtureRequest) -> Claims:
    if request.param == "the rule":
        return ClaimBook()
    found: Claims = request.getfixturevalue("redis_claims")
    return found


def delivered(
    offset: int,
    *names: str,
    after: int | None = None,
    generation: int = 7,
    fingerprint: bytes = PAID,
    indexes: list[int] | None = None,
) -> Delivery:
    """Return the delivery of events by name; `after` defaults to the offset before."""
    places = indexes if indexes is not None else list(range(len(names)))
    keys = b"".join(event_key("acme", "api", name) for name in names)
    after = offset if after is None else after
    return Delivery(offset, after, generation, places, keys, fingerprint * len(names))


def repeats(answer: Judged | Behind) -> list[tuple[int, Verdict, tuple[int, int]]]:
    """Return what is not fresh: (index, verdict, (owner's offset, owner's index))."""
    assert isinstance(answer, Judged)
    return [(i, verdict, (owner.offset, owner.index)) for i, verdict, owner in answer.repeats]


def test_first_deliveries_are_fresh(claims: Claims) -> None:
    assert repeats(claims.claim(delivered(0, "a", "b"))) == []
    assert repeats(claims.claim(delivered(1, "c"))) == []


def test_a_redelivery_is_still_fresh(claims: Claims) -> None:
    for _ in range(3):
        assert repeats(claims.claim(delivered(0, "a", "b"))) == []


def test_a_repeat_names_its_owner(claims: Claims) -> None:
    claims.claim(delivered(0, "a", "b"))

    assert repeats(claims.claim(delivered(1, "c", "b"))) == [(1, Verdict.DUPLICATE, (0, 1))]


def test_a_repeat_within_a_batch(claims: Claims) -> None:
    answer = claims.claim(delivered(0, "a", "b", "a"))

    assert repeats(answer) == [(2, Verdict.DUPLICATE, (0, 0))]


def test_another_payload_is_a_conflict_and_the_first_keeps_the_key(claims: Claims) -> None:
    claims.claim(delivered(0, "a"))
    for offset in (1, 2):
        answer = claims.claim(delivered(offset, "a", fingerprint=OTHER))
        assert repeats(answer) == [(0, Verdict.CONFLICT, (0, 0))]
    assert repeats(claims.claim(delivered(3, "a"))) == [(0, Verdict.DUPLICATE, (0, 0))]


def test_the_next_generation_remembers_the_one_after_it_does_not(claims: Claims) -> None:
    claims.claim(delivered(0, "a", "b", generation=1))

    assert repeats(claims.claim(delivered(1, "a", generation=2))) == [
        (0, Verdict.DUPLICATE, (0, 0))
    ]
    assert repeats(claims.claim(delivered(2, "b", generation=3))) == []


def test_a_repeat_claims_its_own_generation_too(claims: Claims) -> None:
    """What a generation holds follows from its own deliveries, not from the one before."""
    claims.claim(delivered(0, "a", generation=1))
    claims.claim(delivered(1, "a", generation=2))

    assert repeats(claims.claim(delivered(2, "a", generation=3))) == [
        (0, Verdict.DUPLICATE, (1, 0))
    ]


def test_a_dropped_generation_is_forgotten(claims: Claims) -> None:
    claims.claim(delivered(0, "a", generation=1))
    claims.drop(2)

    assert repeats(claims.claim(delivered(1, "a", generation=2))) == []


def test_indexes_are_places_in_the_batch(claims: Claims) -> None:
    claims.claim(delivered(0, "a", "b", indexes=[5, 9]))

    assert repeats(claims.claim(delivered(1, "b", indexes=[3]))) == [(3, Verdict.DUPLICATE, (0, 9))]


def test_a_hole_before_the_delivery_is_refused_and_nothing_is_claimed(claims: Claims) -> None:
    claims.claim(delivered(0, "a"))

    assert claims.claim(delivered(9, "b", after=5)) == Behind(0)
    assert repeats(claims.claim(delivered(1, "b"))) == []


def test_what_lies_between_need_not_be_keyed(claims: Claims) -> None:
    claims.claim(delivered(0, "a"))

    assert repeats(claims.claim(delivered(40, "b", after=1))) == []


def test_two_thousand_events_in_one_batch(claims: Claims) -> None:
    names = [str(number) for number in range(2000)]
    claims.claim(delivered(0, *names))

    assert len(repeats(claims.claim(delivered(1, *names)))) == 2000


def load(seed: int, count: int = 120) -> list[Delivery]:
    """Return deliveries of few names in many, with redeliveries, over three generations."""
    random, made = Random(seed), []
    for offset in range(count):
        names = random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randrange(1, 9))
        fingerprint = random.choice([PAID, PAID, OTHER])
        generation = 1 + offset * 3 // count
        made.append(delivered(offset, *names, generation=generation, fingerprint=fingerprint))
        if random.random() < 0.2:  # a worker starts again a little earlier
            made += made[-random.randrange(1, 4) :]
    return made


@pytest.mark.parametrize("seed", range(5))
def test_redis_answers_as_the_rule_does(redis_claims: OverRedis, seed: int) -> None:
    rule, deliveries = ClaimBook(), load(seed)

    assert [redis_claims.claim(one) for one in deliveries] == [
        rule.claim(one) for one in deliveries
    ]


@pytest.mark.parametrize("seed", range(5))
def test_many_in_flight_answer_as_one_after_the_other(redis_claims: OverRedis, seed: int) -> None:
    rule, deliveries = ClaimBook(), load(seed)

    assert redis_claims.claim_at_once(deliveries) == [rule.claim(one) for one in deliveries]


def test_a_claim_that_is_gone_below_the_watermark_is_never_new(claims: Claims) -> None:
    claims.claim(delivered(0, "a", generation=1))
    claims.claim(delivered(1, "b", generation=1))
    claims.drop(2)

    with pytest.raises((BrokenInvariant, ServerFailed)):
        claims.claim(delivered(0, "a", generation=1))


def test_a_redis_that_lost_the_connection_is_told_not_waited_for(redis_claims: OverRedis) -> None:
    redis_claims.claim(delivered(0, "a"))
    redis_claims.run("CLIENT", "KILL", "TYPE", "normal")

    for _ in range(2):
        with pytest.raises(ServerFailed, match="went away"):
            redis_claims.claim(delivered(1, "b"))


def test_a_redis_that_refuses_is_told_not_waited_for(redis_claims: OverRedis) -> None:
    redis_claims.run("SCRIPT", "FLUSH")

    with pytest.raises(ServerFailed, match="No matching script"):
        redis_claims.claim(delivered(0, "a"))
    assert redis_claims.run("PING")


def test_claims_are_forgotten_at_once(servers: Servers) -> None:
    """A worker that makes claims again meanwhile finds all of them, or none."""
    stack = Stack(prefix=f"c{token_hex(4)}.")
    names = [stack.claims_key(PARTITION, generation) for generation in range(3)]
    with redis.Redis.from_url(servers.redis) as client, client.monitor() as seen:
        for name in names:
            client.hset(name, mapping={"a": "1", "b": "2"})
        client.set(stack.watermark_key(PARTITION), 7)

        assert forget_claims(servers.redis, stack, [PARTITION]) == 6

        client.echo("the end")
        told: list[str] = []
        while "the end" not in " ".join(told[-1:]):
            told.append(str(seen.next_command()["command"]))
        left = client.keys(f"{stack.prefix}*")
    gone = [at for at, line in enumerate(told) if line.startswith(("DEL", "UNLINK"))]
    begun, done = told.index("MULTI"), told.index("EXEC")
    assert gone
    assert all(begun < at < done for at in gone)
    assert left == []
