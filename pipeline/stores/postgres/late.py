"""Usage of closed periods: who had any since which cut.

Owns: noting it with the usage that it is about, asking for it.
Does not own: what is late (book/booking.py), what is corrected for it (workers/correcting.py).
Law: it is noted in the transaction that writes the usage.
"""

from collections.abc import Collection, Sequence

from pipeline.book.booking import Booked
from pipeline.core.calendar import Instant
from pipeline.stores.postgres.connection import Connection


def write_late(connection: Connection, booked: Booked) -> None:
    """Note the usage of closed periods that a flush books."""
    if not booked.late:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO late_usage (payer, cut, window_us, met_us) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (payer, cut) DO UPDATE SET"
            " window_us = least(late_usage.window_us, excluded.window_us),"
            " met_us = least(late_usage.met_us, excluded.met_us)",
            [(*key, late.window_start, late.met) for key, late in sorted(booked.late.items())],
        )


def late_usage(
    connection: Connection, payer: str, currency: str, below: int, *, carried: bool = False
) -> list[tuple[int, Instant]]:
    """Return (cut, first window) of a payer's usage of closed periods below a cut.

    From the cut before in the same currency on, for what was late then is corrected; from the
    first on where something may have been `carried`.
    """
    rows = connection.execute(
        "SELECT cut, window_us FROM late_usage WHERE payer = %s AND cut < %s AND (%s OR cut >="
        " coalesce((SELECT max(serial) FROM cut WHERE payer = %s AND currency = %s"
        " AND serial < %s), 0)) ORDER BY cut",
        [payer, below, carried, payer, currency, below],
    )
    return [(cut, window) for cut, window in rows]


def late_payers(connection: Connection, payers: Sequence[str], below: int) -> set[str]:
    """Return which payers have any usage of closed periods below a cut."""
    rows = connection.execute(
        "SELECT DISTINCT payer FROM late_usage WHERE payer = ANY(%s) AND cut < %s",
        [list(payers), below],
    )
    return {payer for (payer,) in rows}


def cuts_of_facts(connection: Connection, serials: Collection[int]) -> set[int]:
    """Return which of these decisions caused a cut that is booked."""
    rows = connection.execute("SELECT fact FROM cut WHERE fact = ANY(%s)", [sorted(serials)])
    return {serial for (serial,) in rows}


def late_uncorrected(connection: Connection, met_before: Instant) -> list[tuple[str, str]]:
    """Return (payer, currency) with usage of closed periods that no cut came after.

    Of what was met before an instant.
    """
    rows = connection.execute(
        "SELECT DISTINCT l.payer, own.currency FROM late_usage l JOIN cut own"
        " ON own.payer = l.payer AND own.serial <= l.cut WHERE l.met_us < %s"
        " AND NOT EXISTS (SELECT FROM cut WHERE cut.payer = l.payer"
        " AND cut.currency = own.currency AND cut.serial > l.cut) ORDER BY 1, 2",
        [met_before],
    )
    return [(payer, currency) for payer, currency in rows]
