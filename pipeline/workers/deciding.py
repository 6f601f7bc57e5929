"""Deciding by hand: whether a document is still open to it, on the very tables that close it.

Owns: the locks between a decision and the finalizer.
Does not own: what may be decided (catalog/hand_rules.py), composing.
Law: a decision that names a document is written before it is prepared, or not at all: whoever
decides holds the head of the facts, so no tick comes meanwhile, and the cut, so nobody prepares.
"""

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.cuts import horizon_at
from pipeline.stores.postgres.drafts import Draft, find_draft
from pipeline.stores.postgres.facts import last_tick
from pipeline.stores.postgres.preparing import lock_cut
from pipeline.stores.postgres.session import Session


def open_draft(connection: Session, catalog: Catalog, name: str) -> tuple[Draft, bool]:
    """Return a draft that may still be decided of, and whether its period is cut already.

    Call it in the transaction that writes the fact, under the lock of the facts' head.

    Raises:
        ValueError: there is no such draft, or it is prepared, or about to be cut.

    """
    draft = find_draft(connection, name)
    if draft is None:
        raise ValueError(f"no draft {name}: `talea draft CUSTOMER` shows their ids")
    if connection.issued_among([name]):
        raise ValueError("it is issued already, the books catch up: correct it by a note")
    prepared = lock_cut(connection, draft.payer, draft.currency, draft.instant)
    if prepared:
        raise ValueError("it is about to get its number: correct it by a note once it has it")
    if prepared is None:
        tick = last_tick(connection)
        if tick is not None and horizon_at(catalog, tick) >= draft.instant:
            raise ValueError("its period is being cut: try again in a moment")
    return draft, prepared is not None
