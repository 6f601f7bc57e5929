"""`talea drill`: a pricing bug goes live in a sandbox, and all that follows is done for real.

The servers are real, and so are the workers; the tenant is one of its own, made for this drill.
"""

import secrets
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.drill_play import Drilled, DrillPlay
from pipeline.cli.options import AsJson
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import own_stack
from pipeline.core.errors import CheckFailed
from pipeline.settings import read_settings
from pipeline.workers.supervisor import Supervisor, default_workers

_TICK_S = 0.5


def drill(
    to: Annotated[
        Path | None, typer.Option(help="Folder for report and notices; the sandbox's if left out.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Play a pricing incident: alarm, hold, survey, rollback, notes, notices, post-mortem."""
    ours = read_settings()
    name = f"drill_{secrets.token_hex(3)}"
    own = {"home": ours.home / "drill", "prefix": f"{name}.", "tenant_schema": name}
    settings = ours.model_copy(update={**own, "tick_s": _TICK_S})
    began = time.monotonic()
    with ExitStack() as held:
        owned = held.enter_context(own_stack(settings))
        held.enter_context(Supervisor(owned.around, default_workers(), owned.home.path / "logs"))
        folder = to or owned.home.path / name
        outcome = DrillPlay(owned.around, folder, quiet=json).play()
    seconds = time.monotonic() - began
    if json:
        print_json({**outcome.json(), "seconds": round(seconds, 1)})
    else:
        _tell(outcome, seconds)
    if outcome.faults:
        raise CheckFailed(f"the drill found something: {outcome.faults[0]}")


def _tell(outcome: Drilled, seconds: float) -> None:
    out.print()
    for path in outcome.files:
        out.print(f"  {path}", markup=False, soft_wrap=True)
    checks = "every customer came to what the right price makes of their usage, to the cent"
    for line in outcome.faults or [checks]:
        out.print(line, markup=False, soft_wrap=True)
    out.print(f"the drill took {seconds:.0f} s; on a live stack: talea incident run --help")
