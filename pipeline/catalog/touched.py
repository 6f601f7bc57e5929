"""Touched: which facts anything of a customer may rest on.

Owns: the last position that could make a difference to a customer.
Does not own: what the facts say (catalog.py), what of it matters to whom (cuts.py, invoice).
Law: where nothing touched a customer between two positions, both catalogs say the same of all
that is billed there. A kind that is not known to be of one customer, or of none, is of everybody.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipeline.catalog.corrections import CUTTING
from pipeline.catalog.facts import Fact, FactKind

_OF_ITS_CUSTOMER = CUTTING | {
    FactKind.SUBSCRIPTION,
    FactKind.ORDER,
    FactKind.CREDIT,
    FactKind.CREDIT_VOID,
    FactKind.TAX_ANSWER,
}
_OF_NOBODY = frozenset(
    {
        FactKind.GATE_PASS,
        FactKind.MATCH,
        FactKind.SKIP,
        FactKind.REDRIVE,
        FactKind.RETENTION,
    }
)


@dataclass(frozen=True, slots=True)
class Touched:
    """Positions of the last facts: of everybody, and of single customers, the youngest last."""

    everybody: int = 0
    _customers: dict[str, int] = field(default_factory=dict)

    def at(self, customer: str) -> int:
        """Return the last position that could make a difference to a customer."""
        return max(self.everybody, self._customers.get(customer, 0))

    def since(self, position: int) -> frozenset[str] | None:
        """Return the customers touched behind a position; None where everybody is."""
        if self.everybody > position:
            return None
        found = set()
        for customer in reversed(self._customers):
            if self._customers[customer] <= position:
                break
            found.add(customer)
        return frozenset(found)

    def after(self, facts: Iterable[Fact], payer: Callable[[str], str] = str) -> "Touched":
        """Return it after more facts. What is sold stays its customer's; it touches its payer."""
        everybody, customers = self.everybody, dict(self._customers)
        for fact in facts:
            if fact.kind in _OF_NOBODY:
                continue
            if fact.kind is FactKind.CUSTOMER:
                customer = fact.subject
            elif fact.kind in _OF_ITS_CUSTOMER:
                customer = str(fact.body["customer"])
            else:
                everybody = fact.serial
                continue
            for each in {customer, payer(customer)}:
                customers.pop(each, None)
                customers[each] = fact.serial
        return Touched(everybody, customers)


UNTOUCHED = Touched()
