"""Laws of a diff: it explains a difference to the last minor unit, and is the other way the other
way round. The documents are those of the golden stories, each beside any other.
"""

from collections.abc import Mapping
from typing import Any, cast

from hypothesis import assume, given
from hypothesis import strategies as st

from builders import T0
from laws.test_notes import INVOICES, clerks
from pipeline.core.identity import Json
from pipeline.invoice.notes import Cause, Change, booked, lines_of, note
from pipeline.invoice.totals import Totals
from pipeline.replay.applying import families, repricings, total_minor
from pipeline.replay.diff import Moved, Pair, Selection, UsedIn, diff

Content = Mapping[str, Json]
SIDES = st.sampled_from([None, *INVOICES])
PAIRS = st.lists(
    st.tuples(SIDES, SIDES).filter(
        lambda sides: len({side["currency"] for side in sides if side is not None}) == 1
    ),
    max_size=6,
)
MOVED = st.tuples(st.integers(-2, 2), st.integers(-1, 1))


def total(content: Content | None) -> int:
    return 0 if content is None else int(cast(Any, content)["totals"]["total_minor"])


def paired(sides: list[tuple[Content | None, Content | None]], *, back: bool) -> list[Pair]:
    return [
        Pair(f"S-{number}", "acme", T0, 1, one == two, *((two, one) if back else (one, two)))
        for number, (one, two) in enumerate(sides)
    ]


@given(PAIRS, MOVED)
def test_every_minor_unit_has_one_cause(
    sides: list[tuple[Content | None, Content | None]], found: tuple[int, int]
) -> None:
    def moved(_used: UsedIn) -> Moved:
        return Moved(*found)

    told = diff(paired(sides, back=False), Selection(), moved)
    for each in told.documents:
        assert each.before_minor == total(each.pair.before)
        assert each.after_minor == total(each.pair.after)
        assert each.difference_minor == sum(line.difference_minor for line in each.lines)
        assert sum(each.causes.values()) == each.difference_minor
        for line in each.lines:
            assert sum(line.causes.values()) == line.difference_minor
    by_cause: dict[str, int] = {}
    for of in told.by_cause.values():
        for currency, minor in of.items():
            by_cause[currency] = by_cause.get(currency, 0) + minor
    assert {currency: minor for currency, minor in by_cause.items() if minor} == told.totals

    back = diff(paired(sides, back=True), Selection(), moved)
    assert {currency: -minor for currency, minor in back.totals.items()} == told.totals


@given(clerks(), st.sampled_from([None, *INVOICES]), st.booleans())
def test_the_notes_of_a_diff_bring_what_was_issued_to_what_was_replayed(
    told: tuple[Content, list[Content]], other: Content | None, both: bool
) -> None:
    """The notes that were made before are in the replay too, or they are not."""
    issued, notes = told
    assume(other is None or other["currency"] == issued["currency"])
    replayed = None if other is None else {**other, "id": issued["id"]}
    kept = notes if both and replayed is not None else []
    pairs = [Pair("S-1", "acme", T0, 1, replayed == issued, issued, replayed)]
    for number, each in enumerate(notes, start=2):
        there = each if kept else None
        pairs.append(Pair(f"S-{number}", "acme", T0, number, bool(kept), each, there))

    found = families(pairs, Selection())
    decided = repricings(found, Selection(), "diff", T0)
    made = [each.change for each in decided if each.change is not None]
    shown = diff(pairs, Selection(), lambda _used: Moved(0, 0))
    assert total_minor([each.told().body for each in decided]) == shown.totals

    for family, change in zip(found, made, strict=False):
        made_note = note(issued, family.change(Selection()), Cause("then", "repriced", "fact"))
        stands = booked(issued, [*notes, made_note])
        wanted = booked(replayed, kept) if replayed is not None else None
        assert by_line(stands) == ({} if wanted is None else by_line(wanted))
        assert made_note["lines"]
        assert Change.of_json(change) == family.change(Selection())


def by_line(content: Content) -> dict[Json, Totals]:
    """What each line comes to; one that comes to nothing says nothing."""
    found = {line["id"]: Totals.of_json(line["totals"]) for line in lines_of(content)}
    return {line: totals for line, totals in found.items() if totals != Totals()}
