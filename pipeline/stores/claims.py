"""Claims in Redis: the rule of dedupe/claims.py as one atomic script, many in flight.

Owns: the script, the bytes of a claim, pipelining on one connection (order is kept).
Does not own: the rule's meaning (dedupe/claims.py; one contract suite runs both).
Law: a Redis error never means "new".

Per partition and generation one hash: key (16 bytes) -> fingerprint (4) offset (8) index (2),
big-endian; per partition one watermark: the offset up to which claims are complete.
"""

import asyncio
import math
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from struct import iter_unpack
from typing import cast

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Connection
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError, ResponseError

from pipeline.core.errors import ServerFailed
from pipeline.core.identity import FINGERPRINT_BYTES, KEY_BYTES
from pipeline.dedupe.claims import Behind, Claim, Delivery, Judged, Verdict
from pipeline.topology import Stack

_SCRIPT = """
local own, older, mark = KEYS[1], KEYS[2], KEYS[3]
local offset, after = tonumber(ARGV[3]), tonumber(ARGV[4])
local watermark = tonumber(redis.call('GET', mark) or -1)
if after > watermark + 1 then return {1, watermark} end
local field, claims = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2])
local n, sub = #field, string.sub
local before = redis.call('EXISTS', older) == 1 and redis.call('HMGET', older, unpack(field))
local owned = redis.call('HMGET', own, unpack(field))
if offset > watermark then
  -- From the last event to the first: of a key that is here twice the first claim stays.
  local set, size, new, added = {}, 0, 0, 0
  for i = n, 1, -1 do
    if not owned[i] then
      set[size + 1], set[size + 2] = field[i], claims[i]
      size, new = size + 2, new + 1
    end
  end
  for i = 1, size, 4000 do
    added = added + redis.call('HSET', own, unpack(set, i, math.min(i + 3999, size)))
  end
  redis.call('SET', mark, offset)
  if added < new then
    local first = redis.call('HMGET', own, unpack(field))
    for i = 1, n do owned[i] = owned[i] or first[i] end
  end
end
local repeats = {}
for i = 1, n do
  local owner = (before and before[i]) or owned[i]
  if owner then
    local claim = claims[i]
    if sub(owner, 5) ~= sub(claim, 5) then
      local verdict = sub(owner, 1, 4) == sub(claim, 1, 4) and '\\1' or '\\2'
      repeats[#repeats + 1] = sub(claim, 13) .. verdict .. owner
    end
  elseif offset <= watermark then
    return {2, watermark}
  end
end
return {0, table.concat(repeats)}
"""


_BEHIND, _LOST = 1, 2


class RedisClaims:
    """Claims of one stack. Calls may overlap: they run and answer in the order they were made."""

    def __init__(self, url: str, stack: Stack) -> None:
        """Prepare; `open` connects."""
        self._stack = stack
        self._connection = Connection(**parse_url(url))
        self._waiting: deque[asyncio.Future[object]] = deque()
        self._sending = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._gone = ""
        self._sha = ""

    async def open(self) -> None:
        """Connect and load the script.

        Raises:
            ServerFailed: Redis does not answer.

        """
        try:
            await self._connection.connect()  # type: ignore[no-untyped-call]
        except (OSError, RedisError) as error:
            raise ServerFailed(f"Redis does not answer ({error}): is the stack up?") from None
        self._reader = asyncio.create_task(self._read())
        self._sha = cast(bytes, await self._call("SCRIPT", "LOAD", _SCRIPT)).decode()

    async def close(self) -> None:
        """Disconnect."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        await self._connection.disconnect()

    async def claim(self, partition: int, delivery: Delivery) -> Judged | Behind:
        """Judge a delivery; see ClaimBook.claim.

        Raises:
            ServerFailed: Redis failed, or a claim below the watermark is gone.

        """
        return await (await self.begin(partition, delivery))

    async def begin(self, partition: int, delivery: Delivery) -> "asyncio.Future[Judged | Behind]":
        """Send a claim and return where its answer will be."""
        answer = await self._send(
            "EVALSHA",
            self._sha,
            3,
            self._stack.claims_key(partition, delivery.generation),
            self._stack.claims_key(partition, delivery.generation - 1),
            self._stack.watermark_key(partition),
            _strings(np.frombuffer(delivery.keys, f"V{KEY_BYTES}")),
            _strings(_claims(delivery)),
            delivery.offset,
            delivery.after,
        )
        return asyncio.ensure_future(_judged(answer))

    async def start_at(self, partition: int, offset: int) -> None:
        """Let claims be complete up to `offset` (exclusive) where Redis is empty."""
        await self._call("SET", self._stack.watermark_key(partition), offset - 1, "NX")

    async def drop(self, partition: int, generations: Iterable[int]) -> None:
        """Forget generations of a partition."""
        keys = [self._stack.claims_key(partition, generation) for generation in generations]
        await self._call("UNLINK", *keys)

    async def _call(self, *words: str | int | bytes) -> object:
        return await (await self._send(*words))

    async def _send(self, *words: str | int | bytes) -> "asyncio.Future[object]":
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        async with self._sending:
            if self._gone:  # the library would connect anew, and nobody would read
                raise ServerFailed(self._gone)
            self._waiting.append(answer)
            await self._connection.send_command(*words)
        return answer

    async def _read(self) -> None:
        try:
            while True:
                try:
                    response = await self._connection.read_response(
                        disable_decoding=True, timeout=math.inf
                    )
                except ResponseError as refusal:
                    failed = ServerFailed(f"Redis refused: {refusal}")
                    self._waiting.popleft().set_exception(failed)
                else:
                    self._waiting.popleft().set_result(response)
        except (OSError, RedisError, asyncio.IncompleteReadError) as error:
            self._gone = f"Redis went away: {error}"
            for answer in self._waiting:
                answer.set_exception(ServerFailed(self._gone))


_SHORT_STRING, _ARRAY = 0xA0, b"\xdc"
_CLAIM = np.dtype([("fingerprint", f"V{FINGERPRINT_BYTES}"), ("offset", ">i8"), ("index", ">u2")])


def _claims(delivery: Delivery) -> NDArray[np.void]:
    """Return what each key's hash field will hold where it is new."""
    claims = np.empty(len(delivery.indexes), dtype=_CLAIM)
    claims["fingerprint"] = np.frombuffer(delivery.fingerprints, f"V{FINGERPRINT_BYTES}")
    claims["offset"] = delivery.offset
    indexes = delivery.indexes
    claims["index"] = np.arange(len(indexes)) if indexes == range(len(indexes)) else indexes
    return claims


def _strings(column: NDArray[np.void]) -> bytes:
    """Return a column of short fixed strings as MessagePack: Redis takes it apart in C."""
    width = column.dtype.itemsize
    strings = np.empty(len(column), dtype=[("head", "u1"), ("string", f"V{width}")])
    strings["head"] = _SHORT_STRING | width
    strings["string"] = column.view(f"V{width}")
    return _ARRAY + len(column).to_bytes(2, "big") + strings.tobytes()


async def _judged(answer: "asyncio.Future[object]") -> Judged | Behind:
    status, told = cast(tuple[int, bytes | int], await answer)
    if status == _BEHIND:
        return Behind(int(told))
    if status == _LOST:
        raise ServerFailed(
            f"Redis lost claims below its watermark {int(told)}: delete the claims and the"
            " watermark of this partition, and they are made again out of the log"
        )
    repeats = [
        (index, Verdict(verdict), Claim(offset, owner, fingerprint))
        for index, verdict, fingerprint, offset, owner in iter_unpack(">HB4sqH", cast(bytes, told))
    ]
    return Judged(repeats)
