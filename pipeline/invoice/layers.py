"""Layers: a document composed anew by the prices that usage corrects each of its lines by.

Owns: which prices these are, what usage changes by them.
Does not own: composing anew (history.py), whether that makes a note (correcting.py).
Law: usage that a diff knew, and notes made before it, are corrected by that diff alone; what came
since, by its prices. With the diff's own note a document comes to what it would by these prices.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.catalog.mends import Mend
from pipeline.invoice.compose import Composed
from pipeline.invoice.history import Anew, History, Paper
from pipeline.invoice.lines import Line
from pipeline.invoice.notes import Change, Record, booked, difference, part_of_change
from pipeline.invoice.usage import Usage, UsageRequest

UsedBelow = Callable[[Sequence[UsageRequest], int], Usage]
"""Returns usage booked under cuts below one."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A document by the prices of one applied diff; `mend` None: by its own."""

    anew: Anew
    mend: Mend | None


@dataclass(frozen=True, slots=True)
class Layers:
    """A document by all prices that hold for some of its lines, the last first."""

    paper: Paper
    layers: Sequence[Layer]
    mends: Sequence[Mend] = ()
    """Of all diffs: what their notes book stands in what is composed anew."""

    @property
    def requests(self) -> list[UsageRequest]:
        """The usage it asks for."""
        return [request for layer in self.layers for request in layer.anew.requests]

    def changed(
        self, history: History, usage: Usage, used_below: UsedBelow
    ) -> tuple[Change, Composed | None]:
        """Return what usage changes, and the document that cannot be rated, if one cannot."""
        paper, change, lines = self.paper, Change([], []), list[Line]()
        for layer in self.layers:
            if layer.mend is not None and layer.mend.gone:
                continue
            wanted = layer.anew.composed(history.payer, paper.currency, usage)
            stands, since = paper.content, -1
            if layer.mend is not None:
                known = used_below(layer.anew.requests, layer.mend.below)
                stood = layer.anew.composed(history.payer, paper.currency, known)
                stands, since = stood.content, layer.mend.noted
                if stood.issues:
                    return change, stood
            if wanted.issues:
                return change, wanted
            notes = (note for serial, note in _by_usage(history, paper) if serial > since)
            change = difference(wanted.content, booked(stands, notes))
            lines += [line for line in change.lines if self._of(line) is layer]
        return (change if len(self.layers) == 1 else part_of_change(paper.content, lines)), None

    def _of(self, line: Line) -> Layer:
        """Return the prices that hold for a line: the last of its meter."""
        holding = (e for e in self.layers if e.mend is None or e.mend.holds(line["meter"]))
        return next(holding)


def layers_of(history: History, paper: Paper, mends: Sequence[Mend] = ()) -> Layers:
    """Return a document by the prices of its applied diffs, and where they say nothing, its own."""
    found = []
    for mend in reversed(mends):
        found.append(Layer(history.anew(paper, mend), mend))
        if mend.meters is None:
            return Layers(paper, found, mends)
    return Layers(paper, [*found, Layer(history.anew(paper), None)], mends)


def _by_usage(history: History, paper: Paper) -> Iterator[tuple[int, Record]]:
    """Yield the notes that usage made of a document, in order, with the serials of their cuts."""
    for other in sorted(history.papers, key=lambda each: each.order):
        if other.content.get("corrects") == paper.id and other.content["cause"] is None:
            yield other.cut_serial, other.content
