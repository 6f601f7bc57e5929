"""Raw usage is behind where what lay there two seconds ago is still being collected."""

from dataclasses import dataclass, field

from pipeline.collect.rounds import Stand
from pipeline.workers.backlog import RawBacklog


@dataclass
class Topic:
    """Two partitions, how far each is collected, and a clock."""

    ends: list[int] = field(default_factory=lambda: [0, 0])
    stands: list[Stand] = field(default_factory=list)
    now: float = 100.0
    looks: int = 0

    def look(self) -> list[int]:
        self.looks += 1
        return [*self.ends]

    def backlog(self) -> RawBacklog:
        return RawBacklog(self.look, lambda: self.stands, 2.0, lambda: self.now)


def after(backlog: RawBacklog, topic: Topic, *, seconds: float) -> bool:
    """Ask ten times a second, and return the last answer."""
    found = False
    for _ in range(round(seconds * 10)):
        topic.now += 0.1
        found = backlog.is_behind()
    return found


def test_nothing_there_is_no_backlog() -> None:
    topic = Topic()

    assert not after(topic.backlog(), topic, seconds=5)


def test_what_is_not_collected_in_time_is_one_until_it_is() -> None:
    topic = Topic(ends=[10, 100], stands=[Stand(0, 9)])
    backlog = topic.backlog()

    assert not after(backlog, topic, seconds=1.5)
    topic.stands = [Stand(0, 9), Stand(1, 50)]
    assert after(backlog, topic, seconds=2)
    topic.stands = [Stand(0, 9), Stand(1, 99)]
    assert not after(backlog, topic, seconds=1.5)


def test_where_nobody_collects_nothing_is_gained_by_waiting() -> None:
    """The partition is paused, or its collector is away."""
    topic = Topic(ends=[10, 100], stands=[Stand(0, 9), Stand(1, 50)])

    assert not after(topic.backlog(), topic, seconds=6)


def test_who_keeps_up_a_second_late_is_not_behind() -> None:
    topic = Topic()
    backlog = topic.backlog()
    for second in range(1, 20):
        topic.ends = [100 * second, 0]
        topic.stands = [Stand(0, 100 * (second - 1) - 1)]
        assert not after(backlog, topic, seconds=1)


def test_who_falls_behind_ever_more_is_behind_for_good() -> None:
    topic = Topic()
    backlog = topic.backlog()
    found = []
    for second in range(1, 20):
        topic.ends = [100 * second, 0]
        topic.stands = [Stand(0, 50 * second - 1)]
        found.append(after(backlog, topic, seconds=1))

    assert not any(found[:3])
    assert all(found[8:])


def test_it_looks_once_a_second() -> None:
    topic = Topic(ends=[10, 4])
    after(topic.backlog(), topic, seconds=10)

    assert 9 <= topic.looks <= 11


def test_what_came_only_now_is_none_yet() -> None:
    topic = Topic(ends=[1000, 0], stands=[Stand(0, 0)])
    backlog = topic.backlog()
    assert not after(backlog, topic, seconds=0.5)
    topic.stands = [Stand(0, 400)]
    assert not after(backlog, topic, seconds=1)
    assert after(backlog, topic, seconds=1.5)
