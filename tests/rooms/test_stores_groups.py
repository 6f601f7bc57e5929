"""Groups: a coordinator that is not there yet is waited for, any other refusal is not."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.stores.groups import answered


def test_a_broker_that_just_started_is_asked_again() -> None:
    answers: list[int] = [KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS]
    waited = list[float]()

    def ask() -> str:
        if answers:
            raise KafkaException(KafkaError(answers.pop(0)))
        return "two members"

    assert answered(ask, waited.append) == "two members"
    assert len(waited) == 2


def test_a_refusal_is_one() -> None:
    def ask() -> str:
        raise KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))

    with pytest.raises(KafkaException):
        answered(ask, lambda _: pytest.fail("asked again"))
