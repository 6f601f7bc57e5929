"""Touched: which facts anything of a customer may rest on.

Owns: the last position that could make a difference to a customer.
Does not own: what the facts say (catalog.py), what of it matters to whom (cuts.py, invoice).
Law: where nothing touched a customer between two positions, both catalogs say the same of all
that is billed there. A kind that is not known to be of one customer, or of none, is of everybody.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from sys import intern

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
        FactKind.BACKFILL,
        FactKind.INCIDENT,
        FactKind.RETENTION,
        FactKind.MENDED,  # of documents that are issued: no draft is by its prices
    }
)


@dataclass(slots=True)
class Touching:
    """What some facts touch: customers at their last positions, the youngest last."""

    everybody: int = 0
    customers: dict[str, int] = field(default_factory=dict)

    def take(self, fact: Fact) -> None:
        """Note whom the next fact touches."""
        if fact.kind in _OF_NOBODY:
            return
        if fact.kind is FactKind.CUSTOMER:
            customer = intern(fact.subject)
        elif fact.kind in _OF_ITS_CUSTOMER:
            customer = intern(str(fact.body["customer"]))
        else:
            self.everybody = fact.serial
            return
        self.customers.pop(customer, None)
        self.customers[customer] = fact.serial


@dataclass(frozen=True, slots=True, eq=False)
class Touched:
    """Positions of the last facts: of everybody, and of single customers, the youngest last.

    `_since` is told beside the many that are `_known`, and stands instead of them.
    """

    everybody: int = 0
    _known: dict[str, int] = field(default_factory=dict)
    _since: dict[str, int] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Tell whether both say the same of everybody and of each."""
        if not isinstance(other, Touched):
            return NotImplemented
        return (self.everybody, self._all()) == (other.everybody, other._all())

    def at(self, customer: str) -> int:
        """Return the last position that could make a difference to a customer."""
        return max(self.everybody, self._since.get(customer) or self._known.get(customer, 0))

    def since(self, position: int) -> frozenset[str] | None:
        """Return the customers touched behind a position; None where everybody is."""
        if self.everybody > position:
            return None
        found = set()
        for known in (self._since, self._known):
            for customer in reversed(known):
                if known[customer] <= position:
                    break
                found.add(customer)
        return frozenset(found)

    def after(self, touching: Touching, payer: Callable[[str], str] = str) -> "Touched":
        """Return it after more facts. What is sold stays its customer's; it touches its payer."""
        since = dict(self._since)
        for customer, serial in touching.customers.items():
            for each in {customer, payer(customer)}:
                since.pop(each, None)
                since[each] = serial
        after = Touched(max(self.everybody, touching.everybody), self._known, since)
        many = len(since) > _BESIDE_LEAST + len(self._known) // _BESIDE_SHARE
        return Touched(after.everybody, after._all()) if many else after

    def _all(self) -> dict[str, int]:
        if not self._known:
            return self._since
        known = {name: at for name, at in self._known.items() if name not in self._since}
        return {**known, **self._since}


_BESIDE_LEAST, _BESIDE_SHARE = 64, 32
