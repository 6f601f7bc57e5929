"""The command `talea`: its groups, its exit statuses, its one-line errors.

Exit 0 fine; 1 a check did not hold; 2 bad input or usage; 3 a server or tool failed.
"""

import os
import sys
import traceback
from collections.abc import Sequence

import click
import typer

from pipeline.cli import audit, catalog, demo, drafts, invoices, send, up, verify, work
from pipeline.core.errors import BrokenInvariant, TaleaError

app = typer.Typer(
    name="talea",
    help="Usage events into invoices that anybody can recompute.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("send")(send.send)
app.add_typer(catalog.app, name="catalog")
app.command("draft")(drafts.draft)
app.add_typer(invoices.app, name="invoices")
app.command("verify")(verify.verify)
app.command("audit")(audit.audit)
app.command("worker", hidden=True)(work.worker)
app.command("agent", hidden=True)(work.agent)


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit status. A failure is one line on stderr."""
    try:
        result = app(list(arguments), standalone_mode=False, prog_name="talea")
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show(sys.stderr)
        return 2
    except click.Abort:
        return _told("stopped", 130)
    except TaleaError as error:
        return _told(str(error), error.exit_status)
    except BrokenInvariant as error:
        return _told(f"a broken invariant, nothing was changed: {error}", 3)
    except KeyboardInterrupt:
        return _told("stopped", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("TALEA_DEBUG"):
            traceback.print_exc()
        why = (str(error) or type(error).__name__).splitlines()[0]
        return _told(
            f"{type(error).__name__}: {why} (a defect of talea; TALEA_DEBUG=1 shows where)", 3
        )


def _told(line: str, status: int) -> int:
    print(f"talea: {line}", file=sys.stderr)
    return status
