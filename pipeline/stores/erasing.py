"""Erasing what a stack that is over left on the broker.

Owns: deleting topics and a group.  Does not own: which (workers/replaying.py).
Law: what is gone already is no failure.
"""

from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException

from pipeline.core.errors import ServerFailed
from pipeline.stores.groups import answered
from pipeline.stores.kafka import admin, partition_counts
from pipeline.stores.leaving import take_out

_ANSWER_S = 20.0
_GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND)


def delete_topics(bootstrap: str, names: Iterable[str]) -> None:
    """Delete those of the topics that are there.

    Raises:
        ServerFailed: the broker does not answer or refuses.

    """
    client = admin(bootstrap)
    there = sorted(partition_counts(client).keys() & set(names))
    for name, deleted in client.delete_topics(there).items() if there else ():
        try:
            deleted.result(_ANSWER_S)
        except KafkaException as error:
            if error.args[0].code() not in _GONE:
                raise ServerFailed(f"the broker would not delete {name}: {error}") from None


def delete_group(bootstrap: str, group: str) -> None:
    """Delete a consumer group, whoever is in it: call it when its members are dead.

    Raises:
        ServerFailed: somebody joins it again and again, or the broker does not answer.

    """
    client = admin(bootstrap)

    def delete() -> None:
        there = client.describe_consumer_groups([group])[group].result(_ANSWER_S).members
        if there:
            take_out(bootstrap, group, [(each.member_id, each.group_instance_id) for each in there])
        client.delete_consumer_groups([group])[group].result(_ANSWER_S)

    try:
        answered(delete)
    except KafkaException as error:
        if error.args[0].code() not in _GONE:
            raise ServerFailed(f"the broker would not delete group {group}: {error}") from None
