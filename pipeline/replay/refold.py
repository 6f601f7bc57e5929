"""Refold: one partition of the log folded again, in memory.

Owns: the same steps as the workers', one after the other, over dictionaries.
Does not own: reading (workers/refolding.py), comparing (proof.py).
Law: from two generations before a window on, refolding it gives what was booked live.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

from pipeline.book.booking import Booked, BookedRows, Cursor, Cut, Partition, TickPassed
from pipeline.book.series import SeriesKey
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.cuts import Closed, CutSchedule, instant_of
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json, canonical
from pipeline.dedupe.claims import Behind, ClaimBook
from pipeline.invoice.usage import UsagePart, UsageRequest, Used
from pipeline.ledger.seal import point_evidence
from pipeline.meter.meters import Grain
from pipeline.meter.place import NeedsTick, Opened, Place, look
from pipeline.meter.sift import Sifted, contribution, delivery
from pipeline.meter.slices import Slice
from pipeline.meter.ticks import NO_TICK, Tick
from pipeline.replay.points import FoldedPoints

CatalogAt = Callable[[int], Catalog]


@dataclass(frozen=True, slots=True)
class Message:
    """A record of the log, decoded."""

    opened: Opened
    header_count: int | None
    digest: bytes


@dataclass(slots=True)
class _Window:
    count: int = 0
    sum: int = 0
    minimum: int | None = None
    maximum: int | None = None

    def add(self, count: int, total: int, minimum: int, maximum: int) -> None:
        self.count += count
        self.sum += total
        self.minimum = minimum if self.minimum is None else min(self.minimum, minimum)
        self.maximum = maximum if self.maximum is None else max(self.maximum, maximum)


def cuts_before(
    partition: int, ticks: Iterable[Tick], until: Tick, catalog_at: CatalogAt
) -> list[Cut]:
    """Return the cuts of a partition's payers at ticks up to `until`, from facts alone."""
    schedule: CutSchedule | None = None
    found: list[Cut] = []
    known: dict[Closed, int] = {}
    for tick in ticks:
        if tick.serial > until.serial:
            break
        catalog = catalog_at(tick.fact_position)
        if schedule is None:
            schedule = CutSchedule(partition, catalog, NO_TICK)
        for due in schedule.pass_tick(tick, catalog):
            instant = instant_of(due, known, tick.serial)
            if instant is not None:
                known[due.payer, due.currency, instant] = tick.serial
                found.append(Cut(due.payer, due.currency, instant, tick.serial, due.fact))
    return found


@dataclass(slots=True)
class Refold:
    """The fold of one partition from `place` on.

    `rows` holds every committed tick; `catalog_at` the catalog of a fact position.
    """

    number: int
    place: Place
    rows: Mapping[int, Tick | None]
    catalog_at: CatalogAt
    ticks: dict[int, TickPassed] = field(default_factory=dict)
    source: str = "the log"
    _claims: ClaimBook = field(default_factory=ClaimBook)
    _windows: dict[tuple[str, str], dict[tuple[SeriesKey, Instant, int], _Window]] = field(
        default_factory=dict
    )
    """By customer and meter, so that a document is proved by a look at its own usage."""
    _points: FoldedPoints = field(default_factory=FoldedPoints)
    _partition: Partition | None = None

    def _books(self) -> Partition:
        if self._partition is None:
            place = self.place
            cursor = Cursor(self.number, place.offset - 1, -1, place.tick, place.log_time)
            self._claims.watermark = place.offset - 1
            ticks = (tick for _, tick in sorted(self.rows.items()) if tick is not None)
            cuts = cuts_before(self.number, ticks, place.tick, self.catalog_at)
            catalog = self.catalog_at(place.tick.fact_position)
            self._partition = Partition(cursor, catalog, {}, cuts)
        return self._partition

    def feed(self, message: Message) -> None:
        """Fold the next message."""
        self._books()
        place = self.place
        arrival = place.arrival(message.header_count, message.digest)
        ground = self.catalog_at(max(arrival.tick.fact_position, 1)).ground(self.number)
        looked = look(message.opened, arrival, ground, self._known(message.opened))
        if isinstance(looked, NeedsTick):
            raise BrokenInvariant(f"tick {looked.serial} was needed and has no row")
        claim = None
        if isinstance(looked, Sifted):
            claim = delivery(looked, arrival, place.after, ground.gate)
            judged = self._claims.claim(claim) if claim else None
            if isinstance(judged, Behind):
                raise BrokenInvariant(f"claims of a refold fell behind at {arrival.offset}")
            piece, _ = contribution(looked, arrival, judged)
            self._claims.drop(ground.gate.generation(looked.log_time) - 1)
        else:
            piece = looked.piece
        place.pass_message(looked, claimed=claim is not None)
        self.book(piece)

    def book(self, piece: Slice) -> None:
        """Book the next slice, wherever it comes from."""
        books, booked = self._books(), Booked()
        position = (piece.tick or books.cursor.tick).fact_position
        books.book(piece, -1, self.catalog_at(position), booked)
        for passed in booked.ticks:
            self.ticks[passed.tick.serial] = passed
        for rows in booked.rows:
            self._add(rows)
            self._points.add(rows)

    def _known(self, opened: Opened) -> Mapping[int, Tick | None]:
        if isinstance(opened, Tick) and opened.serial not in self.rows:
            return {opened.serial: None}
        return self.rows

    def _add(self, rows: BookedRows) -> None:
        for row, number in enumerate(rows.series.tolist()):
            key = rows.index[number]
            own = self._windows.setdefault((key.customer, key.meter), {})
            window = own.setdefault(
                (key, int(rows.window_start[row]), int(rows.cut[row])), _Window()
            )
            values = rows.wide.get(row) or (
                int(rows.sum[row]),
                int(rows.minimum[row]),
                int(rows.maximum[row]),
            )
            window.add(int(rows.count[row]), *values)

    def tick_at(self, serial: int) -> TickPassed | None:
        """Return where a tick stands, if it was met."""
        return self.ticks.get(serial)

    def usage(
        self, requests: Iterable[UsageRequest], below_cut: int
    ) -> tuple[dict[UsageRequest, list[Used]], list[list[Json]]]:
        """Return the usage of requests under a cut, and the windows and points it lies in."""
        asked = sorted(set(requests))
        merged: dict[tuple[SeriesKey, Instant], _Window] = {}
        whose = {(request.customer, request.meter) for request in asked}
        own = (self._windows.get(each, {}).items() for each in sorted(whose))
        for (key, start, cut), window in chain.from_iterable(own):
            if cut < below_cut and window.minimum is not None and window.maximum is not None:
                into = merged.setdefault((key, start), _Window())
                into.add(window.count, window.sum, window.minimum, window.maximum)
        used: dict[UsageRequest, list[Used]] = {}
        evidence: dict[tuple[SeriesKey, Instant, bytes], list[Json]] = {}
        for (key, start), window in merged.items():
            figures = (window.count, window.sum, window.minimum or 0, window.maximum or 0)
            for request in asked:
                if not _answers(request, key, start):
                    continue
                if window.count and request.grain in (Grain.TOTALS, Grain.WINDOWS):
                    part = UsagePart(key.scale, *figures, start, key.dimensions)
                    used.setdefault(request, []).append(part)
                evidence[key, start, b""] = [*_told(key), start, *figures]
        for request in asked:
            for key, point in self._points.asked(request, below_cut):
                used.setdefault(request, []).append(point)
                place = (point.time, point.key, point.mantissa, point.multiplicity)
                evidence[key, point.time, point.key] = point_evidence(_told(key), *place)
        return used, list(evidence.values())


def _told(series: SeriesKey) -> list[Json]:
    """Return a series as evidence holds it."""
    dimensions = canonical(dict(series.dimensions)).decode()
    return [series.customer, series.meter, series.scale, dimensions]


def _answers(request: UsageRequest, key: SeriesKey, start: Instant) -> bool:
    return (
        request.customer == key.customer
        and request.meter == key.meter
        and request.start <= start < request.end
    )
