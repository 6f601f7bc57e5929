"""Rounds: a stand moves over what the broker has for good, and over nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.collect.rounds import Round, Rounds, Stand


def test_a_round_moves_nothing_before_the_broker_has_all_of_it() -> None:
    rounds = Rounds([Stand(0), Stand(1, 9, 8, 1, 1)])
    rounds.pass_messages(0, 0, 1, 0)
    rounds.pass_messages(1, 10, 0, 1)
    first = rounds.open
    first.sent()
    first.sent()
    rounds.mark()
    assert rounds.settled() == []

    first.acked()
    assert rounds.settled() == []

    first.acked()
    assert rounds.settled() == [
        (Stand(0), Stand(0, 0, 1, 0, 0)),
        (Stand(1, 9, 8, 1, 1), Stand(1, 10, 8, 2, 1)),
    ]
    assert rounds.settled() == []


def test_a_later_round_waits_for_an_earlier_one() -> None:
    rounds = Rounds([Stand(0)])
    began: list[Round] = []
    for offset in range(3):
        rounds.pass_messages(0, offset, 1, 0)
        began.append(rounds.open)
        rounds.open.sent()
        rounds.mark()
    began[2].acked()
    began[1].acked()
    assert (rounds.settled(), rounds.waiting) == ([], 3)

    began[0].acked()
    assert rounds.settled() == [(Stand(0), Stand(0, 2, 3, 0, 0))]
    assert rounds.waiting == 0


def test_the_open_round_moves_nothing() -> None:
    rounds = Rounds([Stand(0)])
    rounds.pass_messages(0, 0, 1, 0)

    assert rounds.settled() == []


def test_offsets_without_a_message_are_skipped() -> None:
    rounds = Rounds([Stand(3, 4, 5)])
    rounds.pass_messages(3, 5, 1, 0)
    rounds.pass_messages(3, 9, 1, 0)
    rounds.mark()

    assert rounds.settled() == [(Stand(3, 4, 5), Stand(3, 9, 7, 0, 3))]


steps = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 3), st.booleans(), st.booleans(), st.integers(0, 9))
)


@given(steps)
def test_every_offset_is_counted_once_and_in_order(
    story: list[tuple[int, int, bool, bool, int]],
) -> None:
    """Whatever comes, and whenever acks do: offset + 1 = collected + rejected + skipped."""
    rounds, stands = Rounds([Stand(n) for n in range(3)]), {n: Stand(n) for n in range(3)}
    passed: list[list[int]] = [[] for _ in range(3)]
    unacked: list[Round] = []

    def settle() -> None:
        for before, after in rounds.settled():
            assert stands[before.partition] == before
            assert after.offset > before.offset
            assert after.offset + 1 == after.collected + after.rejected + after.skipped
            stands[before.partition] = after

    for partition, step, collected, marks, acks in story:
        offset = (passed[partition][-1] if passed[partition] else -1) + step
        rounds.pass_messages(partition, offset, int(collected), int(not collected))
        passed[partition].append(offset)
        rounds.open.sent()
        unacked.append(rounds.open)
        if marks:
            rounds.mark()
        if unacked:
            unacked.pop(acks % len(unacked)).acked()
        settle()
    rounds.mark()
    while unacked:
        unacked.pop().acked()
    settle()

    assert [stands[n].offset for n in range(3)] == [own[-1] if own else -1 for own in passed]
    told = sum(s.collected + s.rejected for s in stands.values())
    assert told == sum(map(len, passed))
