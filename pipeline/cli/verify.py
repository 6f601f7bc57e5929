"""`talea verify`: refold the logs and hold every sealed byte against them."""

from typing import Annotated

import typer

from pipeline.cli.screen import counted, out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput, CheckFailed
from pipeline.stores.kafka import KafkaLog
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.verifying import Verified, Verifier


def verify_documents(around: Surroundings, numbers: list[str] | None) -> Verified:
    """Verify documents (None: all) with a progress bar.

    Raises:
        BadInput: no such number.

    """
    with around.database.session("verify") as connection, counted("refolding the log") as tell:
        verifier = Verifier(around, KafkaLog(around.kafka), connection)
        unknown = set(numbers or ()) - verifier.numbers
        if unknown:
            raise BadInput(f"no invoice {min(unknown)}: `talea invoices list` shows all")
        return verifier.verify(numbers, tell)


def verify(
    number: Annotated[str | None, typer.Argument(help="One invoice.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every invoice.")] = False,
    log: Annotated[bool, typer.Option("--log", help="Refold the logs (always, for now).")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Recompute invoices from the logs and compare them, with seals and chain."""
    del log
    if number and everything:
        raise BadInput("name one invoice, or say --all")
    with any_stack() as around:
        verified = verify_documents(around, [number] if number else None)
    mismatched = sorted(verified.faults)
    if json:
        print_json(
            {
                "checked": verified.checked,
                "matched": verified.checked - len(mismatched),
                "mismatched": mismatched,
                "depth": "log",
                "faults": dict(verified.faults),
            }
        )
    else:
        for name in mismatched:
            out.print(f"{name}: {verified.faults[name]}", markup=False, soft_wrap=True)
        matched = verified.checked - len(mismatched)
        out.print(f"{matched} of {verified.checked} invoices match the log, seals and chain")
    if mismatched:
        raise CheckFailed(f"{len(mismatched)} of {verified.checked} invoices do not match")
