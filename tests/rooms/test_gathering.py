"""How long slices gather before they are booked, and which are kept back."""

from dataclasses import dataclass, field

import pytest

from pipeline.workers.gathering import Gathering, Record

FLUSH_S, COUNT_MAX = 0.3, 10


@dataclass
class Reader:
    """What comes, a list a look; a look at nothing takes as long as it waits."""

    comes: list[list[Record]]
    now_s: float = 0.0
    waited_s: list[float] = field(default_factory=list)

    def read(self, count_max: int, wait_s: float) -> list[Record]:
        self.waited_s.append(wait_s)
        self.now_s += wait_s
        came = self.comes.pop(0) if self.comes else []
        assert len(came) <= count_max
        return came

    def close(self) -> None:
        pass


def of(partition: int, *offsets: int) -> list[Record]:
    return [(partition, offset, b"") for offset in offsets]


def gathering(reader: Reader, **more: int) -> Gathering:
    return Gathering(reader, FLUSH_S, COUNT_MAX, lambda: reader.now_s, **more)


@pytest.mark.parametrize(("worked_s", "wait_s"), [(0.0, 0.3), (0.2, 0.1), (0.5, 0.0)])
def test_time_at_work_is_time_in_which_slices_gather(worked_s: float, wait_s: float) -> None:
    reader = Reader([])
    gathered = gathering(reader)
    gathered.gather(behind=False)
    reader.now_s += worked_s
    gathered.gather(behind=False)
    assert reader.waited_s == pytest.approx([FLUSH_S, wait_s])


def test_before_a_turn_of_some_slices_gather_for_their_share() -> None:
    reader = Reader([])
    gathering(reader).gather(0.25, behind=False)
    assert reader.waited_s == pytest.approx([FLUSH_S / 4])


def test_what_is_not_taken_is_kept_in_order() -> None:
    gathered = gathering(Reader([of(0, 1) + of(1, 4), of(0, 2) + of(1, 5)]))
    gathered.gather(behind=False)
    assert gathered.take([1]) == of(1, 4)
    gathered.gather(behind=False)
    assert gathered.take([0, 1]) == of(0, 1, 2) + of(1, 5)
    assert gathered.take([0, 1]) == []


def test_no_more_is_held_than_may_be() -> None:
    gathered = gathering(Reader([of(0, *range(7)), of(1, *range(3))]))
    gathered.gather(behind=False)
    assert not gathered.full
    gathered.gather(behind=False)
    assert gathered.full


def test_who_is_behind_gathers_for_longer_while_some_come() -> None:
    reader = Reader([of(0, number) for number in range(5)])
    gathered = gathering(reader)
    gathered.gather(behind=True)
    assert reader.waited_s == pytest.approx([0.1] * 6)
    assert len(gathered.take([0])) == 5


def test_who_is_behind_gathers_three_times_as_long_and_no_longer() -> None:
    reader = Reader([of(0)] * 4 + [of(0, number) for number in range(9)])
    gathering(reader).gather(behind=True)
    assert reader.waited_s == pytest.approx([0.1] * 9)


def test_who_is_behind_gathers_no_more_than_may_be_held() -> None:
    reader = Reader([of(0, *range(6)), of(0, *range(6, 10)), of(0, 10)])
    gathered = gathering(reader)
    gathered.gather(behind=True)
    assert reader.waited_s == pytest.approx([0.1] * 2)
    assert gathered.full


def test_no_more_bytes_are_held_than_may_be_but_for_what_comes_at_once() -> None:
    long = [(0, number, bytes(100)) for number in range(10)]
    reader = Reader([long[:2], long[2:5], long[5:7]])
    gathered = gathering(reader, bytes_max=450)

    asked = []
    for _ in range(2):
        asked.append(gathered._may_come())
        gathered.gather(behind=False)
    assert asked == [COUNT_MAX, 3]
    assert gathered.full

    assert gathered.take([0]) == long[:5]
    assert not gathered.full
