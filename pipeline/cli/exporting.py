"""`talea invoices export`: a document with what proves it, for whoever was billed."""

from enum import StrEnum
from pathlib import Path
from shutil import copyfile
from typing import Annotated

import typer

from pipeline.catalog.catalog import FactLog
from pipeline.cli.options import AsJson
from pipeline.cli.screen import print_done
from pipeline.cli.stack import any_stack
from pipeline.core.identity import canonical
from pipeline.stores.postgres.clocks import clock_of
from pipeline.stores.schemas import schema_folder
from pipeline.stores.signing import signing_key
from pipeline.workers.checkpointing import Signing
from pipeline.workers.proving import proof_for

VERIFIER = "verify_proof.py"


class Format(StrEnum):
    """What a document can be exported as."""

    PROOF = "proof"


def export(
    number: Annotated[str, typer.Argument(help="Invoice number.")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.PROOF,
    to: Annotated[
        Path, typer.Option(help="The folder to write it to.", exists=True, file_okay=False)
    ] = Path(),
    windows: Annotated[
        bool, typer.Option("--windows", help="With every window of usage it rests on.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Write the proof of an invoice, and beside it the program that checks it without talea."""
    del form
    with any_stack() as around, around.database.session("proof") as connection:
        facts = FactLog()
        facts.append(connection.read_facts(0))
        signing = Signing(signing_key(around.settings), clock_of(connection))
        proof = proof_for(connection, facts.at, number, signing, with_windows=windows)
    path = to / f"{number}.proof.json"
    path.write_bytes(canonical(proof) + b"\n")
    copyfile(schema_folder() / VERIFIER, to / VERIFIER)
    told = {"number": number, "proof": str(path), "verifier": str(to / VERIFIER)}
    print_done(told, f"wrote {path}: python {to / VERIFIER} {path}", json=json)
