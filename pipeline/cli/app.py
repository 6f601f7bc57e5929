"""The command `talea`: its groups, its exit statuses, its one-line errors.

Exit 0 fine; 1 a check did not hold; 2 bad input or usage; 3 a server or tool failed.
Only the module of the command that is called gets imported: workers start by this way too.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from errno import ENOSPC
from importlib import import_module, metadata
from io import TextIOWrapper
from typing import Annotated, NamedTuple

import typer

from pipeline.core.errors import BrokenInvariant, TaleaError


class _Command(NamedTuple):
    module: str
    name: str
    help: str
    hidden: bool = False


_COMMANDS = {
    "demo": _Command(
        "pipeline.cli.demo", "demo", "Bill this stack's own processes, prove the invoices."
    ),
    "up": _Command("pipeline.cli.up", "up", "Run servers and workers, restart what dies, stay."),
    "send": _Command("pipeline.cli.send", "send", "Send usage: CloudEvents JSON lines."),
    "catalog": _Command("pipeline.cli.catalog", "app", "Meters, plans, customers, subscriptions."),
    "subscription": _Command(
        "pipeline.cli.subscription", "app", "Change, pause, resume, cancel a subscription."
    ),
    "draft": _Command(
        "pipeline.cli.drafts", "draft", "Show what a customer is about to be billed."
    ),
    "invoices": _Command("pipeline.cli.invoices", "app", "List and show issued invoices."),
    "explain": _Command(
        "pipeline.cli.explain", "explain", "From a line to every event that made it."
    ),
    "tax": _Command("pipeline.cli.tax", "app", "Taxes that the rules do not know."),
    "hold": _Command(
        "pipeline.cli.by_hand", "hold", "Stop finalizing: everything, a price, a customer."
    ),
    "promotion": _Command("pipeline.cli.promotion", "app", "Promotion codes: redeem, list."),
    "credit": _Command("pipeline.cli.credit", "app", "Prepaid credits: grant, void, balance."),
    "verify": _Command(
        "pipeline.cli.verify", "verify", "Recompute invoices from the logs and compare."
    ),
    "retention": _Command(
        "pipeline.cli.retention", "app", "Remove contents kept long enough, provably."
    ),
    "audit": _Command("pipeline.cli.audit", "audit", "Check that every event has one outcome."),
    "skip": _Command("pipeline.cli.pauses", "skip", "Go on without a message nobody can get past."),
    "resume": _Command("pipeline.cli.pauses", "resume", "Let a paused partition go on."),
    "usage": _Command("pipeline.cli.usage", "app", "Take usage back: void, amend, list."),
    "rejected": _Command(
        "pipeline.cli.rejected", "app", "What was not billed: list, show, redrive, waive."
    ),
    "backfill": _Command(
        "pipeline.cli.backfill", "app", "Old usage in bulk: preview, commit, take back."
    ),
    "incident": _Command(
        "pipeline.cli.incident", "app", "Wrong prices: hold, survey, roll back, credit, tell."
    ),
    "drill": _Command(
        "pipeline.cli.drill", "drill", "Play a pricing incident, from alarm to post-mortem."
    ),
    "heal": _Command("pipeline.cli.heal", "heal", "Mend gaps between the log and the books."),
    "rewind": _Command(
        "pipeline.cli.rewind", "rewind", "Read the log from an earlier place again; no total moves."
    ),
    "replay": _Command(
        "pipeline.cli.replay", "app", "Fold the log once more beside the stack, and compare."
    ),
    "clock": _Command("pipeline.cli.clock", "app", "A stack whose time you move: start, advance."),
    "shadow": _Command("pipeline.cli.shadow", "app", "Rate by other prices beside the live ones."),
    "doctor": _Command("pipeline.cli.doctor", "doctor", "Say what claims take in Redis."),
    "bench": _Command("pipeline.cli.bench", "bench", "Measure events per second, totals checked."),
    "simulate": _Command(
        "pipeline.cli.simulate", "simulate", "Play the workers in memory under every fault."
    ),
    "bench-curves": _Command(
        "pipeline.cli.bench_curves", "bench_curves", "Measure what becomes of it as it grows."
    ),
    "bench-prices": _Command(
        "pipeline.cli.bench_prices", "bench_prices", "Measure how fast drafts take a new price."
    ),
    "schemas": _Command(
        "pipeline.cli.schemas", "app", "Check and register the schemas of what is on topics."
    ),
    "rate": _Command("pipeline.cli.rating", "rate", "Rate JSON lines from stdin."),
    "allocate": _Command("pipeline.cli.rating", "allocate", "Split amounts from stdin by weights."),
    "servers": _Command(
        "pipeline.cli.servers", "servers", "Fetch the embedded servers ahead of time.", hidden=True
    ),
    "set-up": _Command(
        "pipeline.cli.set_up", "set_up", "Set up the log on servers of your own, once."
    ),
    "worker": _Command("pipeline.cli.work", "worker", "Run one worker.", hidden=True),
}


def _app(wanted: str | None) -> typer.Typer:
    """Return the command line with `wanted` in it; the other commands are names and help."""
    app = typer.Typer(
        name="talea",
        help="Usage events into invoices that anybody can recompute.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        callback=_talea,
    )
    for called, command in _COMMANDS.items():
        if called != wanted:
            app.command(called, help=command.help, hidden=command.hidden)(_not_loaded)
            continue
        found = getattr(import_module(command.module), command.name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=called, help=command.help)
        else:
            app.command(called, hidden=command.hidden)(found)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(f"talea {metadata.version('talea')}")
        raise typer.Exit


_VERSION = typer.Option(
    "--version", help="Print the version and leave.", callback=_print_version, is_eager=True
)


def _talea(_version: Annotated[bool, _VERSION] = False) -> None:
    """Stand before every command."""


def _not_loaded() -> None:
    """Stand for a command that was not called."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit status. A failure is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # no letter that a terminal lacks stops a command
            stream.reconfigure(errors="backslashreplace")
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    try:
        result = _app(wanted)(list(arguments), standalone_mode=False, prog_name="talea")
        return result if isinstance(result, int) else 0
    except typer.Exit as leave:
        return leave.exit_code
    except typer.TyperException as error:
        if "\n" in error.format_message():  # a group called without a command: its help
            print(error.format_message(), file=sys.stderr)
            return 2
        context = getattr(error, "ctx", None)  # its command, groups and all
        command = context.command_path if context else "talea"
        return _told(f"{error.format_message()} ({command} --help shows the usage)", 2)
    except TaleaError as error:
        return _told(str(error), error.exit_status)
    except BrokenInvariant as error:
        return _told(f"a broken invariant, nothing was changed: {error}", 3)
    except (KeyboardInterrupt, typer.Abort):
        return _told("stopped", 130)
    except SystemExit:  # typer's word for it: whoever read the answers has enough
        return 0
    except Exception as error:
        if isinstance(error, OSError) and error.errno == ENOSPC:
            return _full(error)
        return _failed(error)


def _full(error: OSError) -> int:
    """Tell that a disk is full; what is still to be written to stdout is written to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    where = f" for {error.filename}" if error.filename else ""
    return _told(f"{error.strerror}{where}: make room and begin again", 3)


def _failed(error: Exception) -> int:
    if os.environ.get("TALEA_DEBUG"):
        traceback.print_exc()
    why = (str(error) or type(error).__name__).splitlines()[0]
    return _told(f"{type(error).__name__}: {why} (a defect of talea; TALEA_DEBUG=1 shows where)", 3)


def _told(line: str, status: int) -> int:
    print(f"talea: {line}", file=sys.stderr)
    return status
