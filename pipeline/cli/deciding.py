"""Decisions of one command: facts written by what is in force, and told once they are."""

from collections.abc import Callable, Sequence

from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, NewFact
from pipeline.catalog.fields import parse_moment
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import Instant
from pipeline.core.errors import BadInput
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.database import Connection
from pipeline.stores.postgres.facts import Author, append_facts, read_facts
from pipeline.stores.postgres.session import Session
from pipeline.workers.announcing import await_named


def decided(decide: Callable[[Catalog], Sequence[NewFact]], author: Author) -> list[Fact]:
    """Write what is decided by the facts so far; return it once a tick names it everywhere.

    Raises:
        BadInput: `decide` refuses (ValueError).

    """
    return decided_with(lambda _, known: decide(known), author)


def decided_with(
    decide: Callable[[Session, Catalog], Sequence[NewFact]],
    author: Author,
    then: Callable[[Session, Sequence[Fact]], None] = lambda _, written: None,
) -> list[Fact]:
    """Write what is decided by the facts so far and the tables, and what follows from it, at once.

    Raises:
        BadInput: `decide` or `then` refuses (ValueError): nothing is written.
        BrokenInvariant: a fact could not be read again, which would stop every worker: neither.

    """
    with any_stack() as around:
        with around.database.session("decision") as connection:
            known = read_facts(connection, 0)
            standing = extend(Catalog(), known)

            def new(facts: Sequence[Fact]) -> Sequence[NewFact]:
                nonlocal standing
                standing = extend(standing, facts[standing.position :])
                return decide(connection, standing)

            try:
                with connection.transaction():
                    written = append_facts(connection, new, author, now(connection), known)
                    extend(standing, written)  # what cannot be read again is not written
                    then(connection, written)
            except ValueError as error:
                raise BadInput(str(error)) from None
        if written:
            await_named(around, written[-1].serial)
    return written


def in_force(connection: Connection) -> Catalog:
    """Return the catalog at the head of the fact log."""
    return extend(Catalog(), read_facts(connection, 0))


def moment(option: str, text: str | None) -> Instant | None:
    """Return the instant of an option.

    Raises:
        BadInput: it is none.

    """
    try:
        return None if text is None else parse_moment(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def tell(written: Sequence[Fact], *, json: bool, state: str = "in force") -> None:
    """Print the facts of a decision."""
    if json:
        told = [{"serial": f.serial, "kind": f.kind.value, "subject": f.subject} for f in written]
        print_json({"facts": told})
        return
    for fact in written:
        out.print(f"{fact.kind.value} {fact.subject} {state} (fact {fact.serial})", markup=False)
    if not written:
        out.print("nothing to change: decided already")
