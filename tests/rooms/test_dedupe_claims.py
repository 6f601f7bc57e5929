"""Claims, told as stories: what came when, and what became of it."""

import pytest

from pipeline.core.errors import BrokenInvariant
from pipeline.dedupe.claims import Behind, Claim, ClaimBook, Delivery, Judged, Verdict

FRESH, DUPLICATE, CONFLICT = Verdict.FRESH, Verdict.DUPLICATE, Verdict.CONFLICT


def delivery(offset: int, events: str, generation: int = 0, after: int = 0) -> Delivery:
    """Events as `key payload`: "a1 b1 a2"."""
    words = events.split()
    return Delivery(
        offset,
        after,
        generation,
        range(len(words)),
        b"".join(word[0].encode() * 16 for word in words),
        b"".join(word[1].encode() * 4 for word in words),
    )


def verdicts(book: ClaimBook, *told: Delivery) -> list[list[Verdict]]:
    found = []
    for each in told:
        judged = book.claim(each)
        assert isinstance(judged, Judged)
        repeats = {index: verdict for index, verdict, _ in judged.repeats}
        found.append([repeats.get(index, FRESH) for index in each.indexes])
    return found


STORIES = [
    ("new keys", [(0, "a1 b1")], [[FRESH, FRESH]]),
    ("a resend", [(0, "a1"), (0, "a1")], [[FRESH], [DUPLICATE]]),
    ("other content", [(0, "a1"), (0, "a2")], [[FRESH], [CONFLICT]]),
    ("twice in a batch", [(0, "a1 a1 a2")], [[FRESH, DUPLICATE, CONFLICT]]),
    ("never newest wins", [(0, "a1"), (0, "a2"), (0, "a2")], [[FRESH], [CONFLICT], [CONFLICT]]),
    ("the next generation", [(0, "a1"), (1, "a1")], [[FRESH], [DUPLICATE]]),
    ("conflict with the one before", [(0, "a1"), (1, "a2")], [[FRESH], [CONFLICT]]),
    ("two generations on", [(0, "a1"), (2, "a1")], [[FRESH], [FRESH]]),
    # the repeat in generation 1 stands for the key in generation 2: the first is forgotten there
    ("a chain", [(0, "a1"), (1, "a1"), (2, "a1")], [[FRESH], [DUPLICATE], [DUPLICATE]]),
    ("a changed chain", [(0, "a1"), (1, "a2"), (2, "a2")], [[FRESH], [CONFLICT], [DUPLICATE]]),
]


@pytest.mark.parametrize(("told", "expected"), [story[1:] for story in STORIES],
                         ids=[story[0] for story in STORIES])  # fmt: skip
def test_a_story(told: list[tuple[int, str]], expected: list[list[Verdict]]) -> None:
    deliveries = [delivery(at, events, gen) for at, (gen, events) in enumerate(told)]
    book = ClaimBook()

    assert verdicts(book, *deliveries) == expected
    assert verdicts(book, *deliveries) == expected, "told again"
    assert verdicts(book, *reversed(deliveries)) == expected[::-1], "told backwards"


def test_the_owner_is_named() -> None:
    book = ClaimBook()
    verdicts(book, delivery(0, "x1 a1"))
    judged = book.claim(delivery(3, "b1 a2"))

    assert judged == Judged([(1, CONFLICT, Claim(0, 1, b"1111"))])


def test_places_are_those_of_the_batch_not_of_the_claim() -> None:
    late_ones_left_out = Delivery(0, 0, 0, [4, 9], b"a" * 16 + b"a" * 16, b"1111" + b"1111")

    assert ClaimBook().claim(late_ones_left_out) == Judged([(9, DUPLICATE, Claim(0, 4, b"1111"))])


@pytest.mark.parametrize(("after", "answer"), [(0, Judged), (1, Judged), (2, Behind), (9, Behind)])
def test_claims_that_lack_something_below_say_so(after: int, answer: type) -> None:
    book = ClaimBook()
    book.claim(delivery(0, "a1"))

    found = book.claim(delivery(9, "b1", after=after))
    assert type(found) is answer
    assert book.watermark == (9 if answer is Judged else 0)
    if isinstance(found, Behind):
        assert found.watermark == 0


def test_empty_claims_are_behind_at_minus_one() -> None:
    assert ClaimBook().claim(delivery(5, "a1", after=5)) == Behind(-1)
    assert verdicts(ClaimBook(start=5), delivery(5, "a1", after=5)) == [[FRESH]]


def test_a_claim_that_was_dropped_too_early_is_an_error_and_never_new() -> None:
    book = ClaimBook()
    verdicts(book, delivery(0, "a1", generation=0), delivery(1, "b1", generation=2))
    book.drop(1)

    assert verdicts(book, delivery(1, "b1", generation=2)) == [[FRESH]]
    with pytest.raises(BrokenInvariant, match="offset 0, event 0 is gone"):
        book.claim(delivery(0, "a1", generation=0))
