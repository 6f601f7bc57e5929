"""One diff after another: by which prices usage corrects documents that several of them named."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from builders import T0, facts, issuer_of, log_of, meter_of, per_unit, plan_of, price_of, rules_of
from golden import stories
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.mending import priced_by
from pipeline.catalog.mends import Mend
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.invoice.planned import Carried
from pipeline.replay.diff import Moved, Pair, Selection, diff
from pipeline.replay.incident import Incident, Step, stepped, without
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.preparing import BookedCuts
from pipeline.workers import applying
from pipeline.workers.applying import Applied, Looked, decide_looked

Content = dict[str, Json]
INVOICE = stories.UNIT_AND_FLAT.told()
NAME = str(INVOICE["id"])
OTHER: Content = {**INVOICE, "id": "inv_other"}
WHOLE = Selection()
OF_CALLS = Selection(meters=frozenset(["api-calls"]))


def shorter(content: Content) -> Content:
    """What it would be by other prices: without one of its lines."""
    return {**content, "lines": content["lines"][:1]}  # type: ignore[index]


def plan(name: str, amount: str) -> tuple[FactKind, str, Content]:
    return plan_of(name, price_of("calls", per_unit(amount), "calls"))


def body(name: str, amount: str) -> Content:
    return plan(name, amount)[2]


def told_of(*plans: tuple[FactKind, str, Content]) -> list[Fact]:
    return facts(log_of(), rules_of(), issuer_of(), meter_of("calls", window_s=3600), *plans)


def dearer(known: Sequence[Fact], name: str, amount: str) -> list[Fact]:
    """What facts say in a replay by another price of a plan, which takes all diffs back."""
    kept = (fact for fact in known if fact.kind is not FactKind.MENDED)
    return [
        replace(fact, body=body(name, amount)) if fact.subject == name else fact for fact in kept
    ]


class Deciding:
    """The facts, and whoever decides."""

    def __init__(self, known: Sequence[Fact]) -> None:
        self.known = [*known]

    def read_facts(
        self, after: int, until: int | None = None, kinds: object = None
    ) -> Sequence[Fact]:
        return self.known[after:]

    def append_facts(self, decide: object, author: Author, now: int) -> Sequence[Fact]:
        found = [
            Fact(len(self.known) + at, f"f{at}", new.kind, new.subject, new.body, "", "", now)
            for at, new in enumerate(decide(self.known), 1)  # type: ignore[operator]
        ]
        self.known += found
        return found

    def notes_by_document(self, ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
        return {}

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]:
        return {}

    def read_cuts(self, payers: Sequence[str], after: int) -> BookedCuts:
        return BookedCuts()

    def apply(self, looked: Looked) -> Applied:
        return decide_looked(self, looked, looked.shown.id, Author("ada", "wrong"), T0)  # type: ignore[arg-type]

    def mends(self, name: str = NAME) -> Sequence[Mend]:
        return extend(Catalog(), self.known).deals.mends.get(name, ())

    def corrected_by(self, plan: str, of: Sequence[Fact]) -> object:
        """The plan by whose prices usage corrects the invoice by now."""
        return priced_by(extend(Catalog(), of), self.mends()[-1].prices).plans[plan]


def compared(before: Content, after: Content, below: int = 0) -> Pair:
    return Pair("S-1", "acme", T0, 1, before == after, before, after, below=below)


def looked(
    pairs: Sequence[Pair], position: int, says: Sequence[Fact], selection: Selection = WHOLE
) -> Looked:
    shown = diff(pairs, selection, lambda _: Moved(0, 0))
    return Looked("replay x", pairs, selection, shown, position, says)


def is_plan(name: str, amount: str) -> object:
    return extend(Catalog(), told_of(plan(name, amount))).plans[name]


def revised_by(known: Sequence[Fact], bodies: Mapping[int, Mapping[str, Json]]) -> list[Fact]:
    return [replace(fact, body=bodies.get(fact.serial, fact.body)) for fact in known]


def test_a_diff_of_one_plan_leaves_another_plan_to_a_later_diff() -> None:
    told = told_of(plan("alpha", "1"), plan("beta", "1"), plan("beta", "9"))
    deciding = Deciding(told)
    deciding.apply(
        looked(
            [compared(INVOICE, INVOICE), compared(OTHER, shorter(OTHER))],
            len(told),
            dearer(told, "alpha", "2"),
        )
    )
    known = deciding.known
    right = revised_by(known, without(known, Incident("INC-2", (7,))))

    deciding.apply(looked([compared(INVOICE, shorter(INVOICE))], len(known), right))

    assert deciding.corrected_by("beta", told) == is_plan("beta", "1")
    assert deciding.corrected_by("alpha", told) == is_plan("alpha", "2")


def test_two_wrong_prices_of_one_plan_are_put_right_one_after_the_other() -> None:
    told = told_of(plan("alpha", "1"), plan("alpha", "8"), plan("alpha", "9"))
    deciding = Deciding(told)
    right = revised_by(told, without(told, Incident("INC-1", (6,))))
    deciding.apply(
        looked([compared(INVOICE, INVOICE), compared(OTHER, shorter(OTHER))], len(told), right)
    )
    known = deciding.known
    right = revised_by(known, without(known, Incident("INC-2", (7,))))

    assert deciding.corrected_by("alpha", told) == is_plan("alpha", "9")
    deciding.apply(looked([compared(INVOICE, shorter(INVOICE))], len(known), right))

    assert deciding.corrected_by("alpha", told) == is_plan("alpha", "1")


def test_the_same_prices_once_more_leave_those_of_before_and_know_more_usage() -> None:
    told = told_of(plan("alpha", "1"))
    deciding = Deciding(told)
    pair = compared(INVOICE, shorter(INVOICE), below=4)
    deciding.apply(looked([pair], len(told), dearer(told, "alpha", "2")))
    known = deciding.known

    pair = compared(INVOICE, {**INVOICE, "lines": []}, below=9)
    deciding.apply(looked([pair], len(known), [*known]))

    assert [mend.below for mend in deciding.mends()] == [4, 9]
    assert deciding.corrected_by("alpha", told) == is_plan("alpha", "2")


def test_a_diff_that_was_looked_at_before_another_was_applied_is_refused() -> None:
    told = told_of(plan("alpha", "1"), plan("beta", "1"))
    deciding = Deciding(told)
    first = looked(
        [compared(INVOICE, shorter(INVOICE)), compared(OTHER, OTHER)],
        len(told),
        dearer(told, "alpha", "2"),
    )
    second = looked(
        [compared(INVOICE, INVOICE), compared(OTHER, shorter(OTHER))],
        len(told),
        dearer(told, "beta", "3"),
    )
    deciding.apply(first)

    with pytest.raises(BadInput, match="was corrected since: replay it again"):
        deciding.apply(second)

    assert deciding.apply(first).already
    assert deciding.corrected_by("alpha", told) == is_plan("alpha", "2")


def test_lines_that_a_diff_was_not_of_keep_their_prices_behind_another_one() -> None:
    told = told_of(plan("alpha", "1"))
    deciding = Deciding(told)
    some: Content = {**INVOICE, "lines": []}
    deciding.apply(
        looked([compared(INVOICE, some)], len(told), dearer(told, "alpha", "2"), OF_CALLS)
    )
    known = deciding.known

    deciding.apply(
        looked([compared(INVOICE, INVOICE), compared(OTHER, shorter(OTHER))], len(known), known)
    )

    assert [mend.meters for mend in deciding.mends()] == [OF_CALLS.meters]
    assert deciding.mends("inv_other")


def test_two_diffs_without_a_difference_are_two() -> None:
    told = told_of(plan("alpha", "1"), plan("beta", "1"))
    deciding = Deciding(told)
    first = looked([compared(INVOICE, INVOICE)], len(told), dearer(told, "alpha", "2"))
    assert not deciding.apply(first).already
    known = deciding.known
    both = dearer(dearer(known, "alpha", "2"), "beta", "3")

    second = looked([compared(INVOICE, INVOICE)], len(known), both)

    assert not deciding.apply(second).already
    assert deciding.apply(second).already
    assert deciding.corrected_by("beta", told) == is_plan("beta", "3")


def test_prices_that_no_message_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told = told_of(plan("alpha", "1"))
    deciding = Deciding(told)
    monkeypatch.setattr(applying, "_FACT_BYTES_MAX", 100)

    with pytest.raises(BadInput, match=r"the other prices of replay x take \d+ bytes"):
        deciding.apply(
            looked([compared(INVOICE, shorter(INVOICE))], len(told), dearer(told, "alpha", "2"))
        )

    assert deciding.known == told


def test_an_incident_is_found_within_the_prices_of_an_applied_diff() -> None:
    told = told_of(plan("alpha", "1"), plan("alpha", "8"), plan("alpha", "9"))
    deciding = Deciding(told)
    right = revised_by(told, without(told, Incident("INC-1", (6,))))
    deciding.apply(looked([compared(INVOICE, shorter(INVOICE))], len(told), right))

    bodies = without(deciding.known, Incident("INC-2", (7,)))

    said = Deciding(revised_by(deciding.known, bodies))
    assert said.corrected_by("alpha", told) == is_plan("alpha", "1")
    assert NewFact(FactKind.PLAN, "alpha", bodies[7]).body == body("alpha", "8")


def test_of_two_incidents_that_show_nothing_one_replayed_again_leaves_the_other() -> None:
    """Their diffs have one id, for nothing is told by either."""
    told = told_of(plan("alpha", "1"), plan("beta", "1"), plan("alpha", "8"), plan("beta", "9"))
    deciding, found = Deciding(told), [Incident("INC-1", (7,)), Incident("INC-2", (8,))]
    same = [compared(INVOICE, INVOICE)]
    for number, each in enumerate(found):
        known = deciding.known
        shows = looked(same, len(known), revised_by(known, without(known, each)))
        assert not deciding.apply(shows).already
        credited = stepped(each.name, Step.CREDITED, diff_id=shows.shown.id)
        fact = Fact(90, "f", credited.kind, credited.subject, credited.body, "", "", T0)
        found[number] = replace(each, steps={Step.CREDITED: fact})

    for each in found:
        said = Deciding(revised_by(deciding.known, without(deciding.known, each)))
        assert said.corrected_by("alpha", told) == is_plan("alpha", "1")
        assert said.corrected_by("beta", told) == is_plan("beta", "1")
