"""`talea verify`: hold every sealed byte against the books, or against the logs folded again."""

from typing import Annotated

import typer

from pipeline.cli.screen import counted, out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput, CheckFailed
from pipeline.ledger.retention import removal_text
from pipeline.stores.kafka import KafkaLog
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.verifying import Depth, Verified, Verifier

_TOLD = {
    Depth.BOOKS: "the windows and points in the books, seals and chain (--log refolds the log)",
    Depth.LOG: "the log, seals and chain",
}


def verify_documents(
    around: Surroundings, numbers: list[str] | None, depth: Depth = Depth.LOG
) -> Verified:
    """Verify documents (None: all) with a progress bar.

    Raises:
        BadInput: no such number.

    """
    doing = "refolding the log" if depth is Depth.LOG else "recomputing"
    with around.database.session("verify") as connection, counted(doing) as tell:
        verifier = Verifier(around, KafkaLog(around.kafka), connection)
        unknown = set(numbers or ()) - verifier.numbers
        if unknown:
            raise BadInput(f"no invoice {min(unknown)}: `talea invoices list` shows all")
        return verifier.verify(numbers, tell, depth)


def verify(
    number: Annotated[str | None, typer.Argument(help="One invoice.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every invoice.")] = False,
    log: Annotated[
        bool, typer.Option("--log", help="Believe no book: fold the log again, in one pass.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Recompute invoices and compare them, with seals and chain: from the books, or the log."""
    if number and everything:
        raise BadInput("name one invoice, or say --all")
    depth = Depth.LOG if log else Depth.BOOKS
    with any_stack() as around:
        verified = verify_documents(around, [number] if number else None, depth)
    mismatched = sorted(verified.faults)
    if json:
        print_json(
            {
                "checked": verified.checked,
                "matched": verified.checked - len(mismatched),
                "mismatched": mismatched,
                "depth": verified.depth.value,
                "faults": dict(verified.faults),
                "checkpoints": dict(verified.keys),
                "beyond_retention": verified.beyond,
                "removals": [removal_text(each) for each in verified.removals],
            }
        )
    else:
        for name in mismatched:
            out.print(f"{name}: {verified.faults[name]}", markup=False, soft_wrap=True)
        matched = verified.checked - len(mismatched)
        out.print(f"{matched} of {verified.checked} invoices match {_TOLD[depth]}")
        if verified.beyond:
            told = "are beyond retention: their seals hold, their contents were removed"
            out.print(f"{verified.beyond} of them {told}")
        for fact in verified.removals:
            out.print(removal_text(fact), markup=False, soft_wrap=True)
        for key, count in verified.keys.items():
            out.print(f"{count} checkpoints hold under the key {key}", soft_wrap=True)
    if mismatched:
        raise CheckFailed(f"{len(mismatched)} of {verified.checked} invoices do not match")
