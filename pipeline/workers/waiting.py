"""Waiting: payers whose next document cannot be issued, and what has each tried again.

Owns: what each waits for.  Does not own: why (invoice/workflow.py), composing (finalizer.py).
Law: whoever waits for people alone is tried again when a decision names its document or itself;
all others at any decision by hand, for another release may rate them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.catalog.by_hand import NOTHING_BY_HAND, ByHand
from pipeline.catalog.tax_answers import TaxAnswers
from pipeline.invoice.compose import Composed
from pipeline.invoice.issues import INCOMPLETE, UNCLOSED, Severity
from pipeline.invoice.taxed import awaited_in
from pipeline.invoice.workflow import ASKS_PEOPLE


@dataclass(slots=True)
class Waiting:
    """Payers that are not to be tried."""

    payers: set[str] = field(default_factory=set)
    _by_hand: ByHand = NOTHING_BY_HAND
    """The decisions that were looked at."""
    _asked: dict[str, Sequence[str]] = field(default_factory=dict)
    """The documents of those that wait for people alone."""
    _awaiting: dict[str, set[str]] = field(default_factory=dict)
    """Which answers they await of an outside engine; one of them is enough to try again."""
    _short: dict[str, int] = field(default_factory=dict)
    """The partition of each that waits for missing events; tried again once none are."""
    _open: dict[str, int] = field(default_factory=dict)
    """That of each that waits for the conservation equation to close."""

    def add(self, payer: str, partition: int, composed: Sequence[Composed]) -> None:
        """Leave a payer out whose documents cannot all be issued."""
        issues = [issue for document in composed for issue in document.issues]
        codes = {issue.code for issue in issues}
        before = self._asked.pop(payer, []) if payer in self.payers else []
        asks = {e.code for e in issues if e.severity is Severity.CRITICAL} <= ASKS_PEOPLE
        if asks and (before or payer not in self.payers):
            self._asked[payer] = [*before, *(document.id for document in composed)]
        self.payers.add(payer)
        if awaited := set[str]().union(*(awaited_in(document.content) for document in composed)):
            self._awaiting[payer] = awaited
        if INCOMPLETE in codes:
            self._short[payer] = partition
        if UNCLOSED in codes:
            self._open[payer] = partition

    def decided(self, by_hand: ByHand) -> None:
        """Try those again that decisions since are about."""
        before, self._by_hand = self._by_hand, by_hand
        if by_hand.position > before.position:
            asked = ((e, of) for e, of in self._asked.items() if e in self.payers)
            self._asked = {e: of for e, of in asked if not _is_about(before, by_hand, e, of)}
            self.payers = {*self._asked}

    def looked_at(
        self, answers: TaxAnswers, missing: Callable[[int], bool], unclosed: Callable[[int], bool]
    ) -> None:
        """Try those again whose answers came, or in whose partition nothing is missing or open."""
        for payer in [p for p, awaited in self._awaiting.items() if awaited & answers.of(p).keys()]:
            del self._awaiting[payer]
            self.payers.discard(payer)
        for known, still in ((self._short, missing), (self._open, unclosed)):
            for payer in [p for p, partition in known.items() if not still(partition)]:
                del known[payer]
                self.payers.discard(payer)


def _is_about(before: ByHand, now: ByHand, payer: str, documents: Sequence[str]) -> bool:
    """Return whether a decision since is about a payer, a document of it, or everybody."""
    were, are, since = before.holds, now.holds, before.position
    return (
        now.retried > since
        or (were.everything, were.prices) != (are.everything, are.prices)
        or (payer in were.customers) != (payer in are.customers)
        or now.of_customers.get(payer, 0) > since
        or any(now.approvals.get(each, 0) > since for each in documents)
    )
