"""Threshold entries: amounts of spending as a sheet has them.

Owns: every check that one entry alone can answer.
Does not own: what they cause (early.py).
"""

from itertools import pairwise

from pipeline.catalog import shape
from pipeline.catalog.early import Thresholds
from pipeline.catalog.fields import parse_spending
from pipeline.catalog.yaml import Entry


def read_thresholds(entry: Entry) -> Thresholds | None:
    """Return the thresholds of a plan or a subscription; with no amount they are none."""
    told = entry.inner("thresholds")
    if told is None:
        return None
    told.close(*shape.THRESHOLDS.keys)
    amounts = told.texts("at", parse_spending)
    if len(amounts) > shape.THRESHOLDS_MAX:
        told.note("at", f"{len(amounts)} amounts: keep {shape.THRESHOLDS_MAX} at most, use every")
    if any(amount <= before for before, amount in pairwise(amounts)):
        told.note("at", "not in ascending order, each once: sort them")
    return Thresholds(tuple(amounts), told.optional("every", parse_spending, None))
