"""Options that several commands have: who decides, why, and how to print."""

from typing import Annotated

import typer

Actor = Annotated[str, typer.Option(help="Who decides.")]
Reason = Annotated[str, typer.Option(help="Why.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
