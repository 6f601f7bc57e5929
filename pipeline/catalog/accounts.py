"""Accounts: who pays for whom.

Owns: the fold of sub-accounts and their payers.
Does not own: which are refused (account_faults.py), what a document makes of them (invoice).
Law: everything sold has one payer. What is sold to a sub-account, and its usage, stay its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.catalog.documents import Customer


@dataclass(frozen=True, slots=True)
class Accounts:
    """Sub-accounts that their parents pay. `payers`: by sub-account; who is not there pays."""

    payers: Mapping[str, str] = field(default_factory=dict)
    _of: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def payer(self, customer: str) -> str:
        """Return who is invoiced for a customer."""
        return self.payers.get(customer, customer)

    def payers_of(self, customers: Sequence[str]) -> Sequence[str]:
        """Return who is invoiced for each of some customers."""
        return [*map(self.payer, customers)] if self.payers else customers

    def without_payer(self, customers: Iterable[str]) -> dict[str, str]:
        """Return who pays for each of some customers, where that is none of these."""
        named = frozenset(customers)
        return {each: self.payer(each) for each in sorted(named) if self.payer(each) not in named}

    def of(self, payer: str) -> Sequence[str]:
        """Return whom a payer is invoiced for: itself first, then its sub-accounts by id."""
        return () if payer in self.payers else (payer, *self._of.get(payer, ()))

    def after(self, told: Iterable[Customer]) -> "Accounts":
        """Return them after more customers, or customers told anew."""
        moved = [each for each in told if each.payer != self.payer(each.id)]
        if not moved:
            return self
        known = {**self.payers, **{each.id: each.payer for each in moved}}
        payers = {child: payer for child, payer in sorted(known.items()) if child != payer}
        of: dict[str, list[str]] = {}
        for customer, payer in payers.items():
            of.setdefault(payer, []).append(customer)
        return Accounts(payers, of)


NO_ACCOUNTS = Accounts()
