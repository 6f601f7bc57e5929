"""Leaving: members of a consumer group taken out of it by somebody else.

Owns: the request that does it, which librdkafka's admin client does not have.
Does not own: whose group it is, and that its members are dead (erasing.py).
Law: a static member that died is one until its session ends, or, died while it joined, until the
whole rebalance does: nobody waits for the dead.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

_TEXT = String("utf-8")
_KEY, _VERSION = 13, 3  # the first version that names members other than oneself


class _Left(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = _KEY, _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "members",
            Array(("member_id", _TEXT), ("group_instance_id", _TEXT), ("error_code", Int16)),
        ),
    )


class _LeaveStruct(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, RESPONSE_TYPE = _KEY, _VERSION, _Left
    SCHEMA = Schema(
        ("group", _TEXT),
        ("members", Array(("member_id", _TEXT), ("group_instance_id", _TEXT))),
    )


class _Leave(Request[_LeaveStruct]):  # type: ignore[misc]
    API_KEY = _KEY

    def __init__(self, group: str, members: Sequence[tuple[str, str | None]]) -> None:
        self._told = (group, members)

    def build(self, request_struct_class: type[_LeaveStruct]) -> _LeaveStruct:
        return request_struct_class(*self._told)


def take_out(bootstrap: str, group: str, members: Sequence[tuple[str, str | None]]) -> None:
    """Take members out of a group, told by id and instance; whoever left already is no failure.

    What the broker thinks of it is not asked: that the group is empty then shows.
    """
    asyncio.run(_take_out(bootstrap, _Leave(group, members), group))


async def _take_out(bootstrap: str, request: Any, group: str) -> None:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        await client.send(node, request, group=ConnectionGroup.COORDINATION)
    finally:
        await client.close()
