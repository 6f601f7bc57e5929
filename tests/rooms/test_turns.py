"""Who is booked and rated next: everybody while that is quick, else one part after the other."""

from collections import Counter

import pytest

from pipeline.workers.turns import PARTS, Turns

GATHER_S = 0.3
QUICK_S, SLOW_S = 0.1, 0.31


def played(turns: Turns, *took_s: float) -> list[list[int]]:
    whose = []
    for each_s in took_s:
        whose.append([*turns.whose()])
        turns.over(each_s)
    return whose


def test_all_have_their_turn_at_once_while_that_is_quick() -> None:
    assert played(Turns([0, 1, 2], GATHER_S), *[QUICK_S] * 3) == [[0, 1, 2]] * 3


def test_parts_have_their_turns_one_after_the_other_once_all_take_long() -> None:
    turns = Turns([0, 1, 2, 3], GATHER_S)
    assert played(turns, *[SLOW_S] * 6) == [[0, 1, 2, 3], [0], [1], [2], [3], [0]]


def test_all_have_their_turn_at_once_again_when_a_round_was_quick() -> None:
    turns = Turns([0, 1, 2, 3], GATHER_S)
    played(turns, SLOW_S, SLOW_S)
    assert played(turns, *[0.07] * 5) == [[1], [2], [3], [0], [0, 1, 2, 3]]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8, 17, 64])
def test_every_partition_has_its_turn_once_a_round(count: int) -> None:
    turns = Turns(range(count), GATHER_S)
    first, *parts = played(turns, *[SLOW_S] * (1 + PARTS))
    assert first == [*range(count)]
    met = Counter(number for part in parts for number in part)
    assert set(met) == set(range(count))
    size = -(-count // PARTS)
    assert count < 2 or max(map(len, parts)) == size


def test_a_round_of_parts_gathers_no_longer_than_a_turn_of_all() -> None:
    turns = Turns([0, 1, 2, 3], GATHER_S)
    shares = [turns.share]
    for took_s in (SLOW_S, *[QUICK_S] * 4):
        turns.over(took_s)
        shares.append(turns.share)
    assert shares == [1.0, *[0.25] * 4, 0.25]
    turns.over(0.0)
    turns.over(0.0)
    assert turns.share == 1.0
