"""`talea demo`: a stack meters itself, bills itself, is shot at, and proves its invoices."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import typer

from pipeline.cli.audit import conservation_table
from pipeline.cli.catalog import apply_sheet
from pipeline.cli.demo_play import Billed, Play
from pipeline.cli.demo_screen import DemoScreen
from pipeline.cli.invoices import invoice_table, summary, whole
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import OwnedStack, own_stack
from pipeline.cli.verify import verify_documents
from pipeline.core.errors import CheckFailed
from pipeline.core.identity import Json
from pipeline.embedded import Servers
from pipeline.invoice.text import invoice_text
from pipeline.replay.audit import Conservation, total
from pipeline.settings import read_settings
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import Author
from pipeline.workers.auditing import conservation
from pipeline.workers.supervisor import Supervisor, default_workers
from pipeline.workers.verifying import Verified

_TICK_S = 1.0


def demo(
    seconds: Annotated[float, typer.Option(min=5, help="Seconds of traffic.")] = 75.0,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Bill the stack's own processes, resend duplicates, kill a worker, verify every invoice."""
    settings = read_settings().model_copy(update={"tick_s": _TICK_S})
    with ExitStack() as held:
        owned = held.enter_context(own_stack(settings))
        servers_up = time.monotonic()
        around = owned.around
        logs = owned.home.path / "logs"
        supervisor = held.enter_context(Supervisor(around, default_workers(), logs))
        owned.home.remember(Servers(around.kafka, around.redis, around.database.dsn))
        screen = held.enter_context(DemoScreen(seconds))
        outcome = _run(owned, supervisor, screen, seconds, servers_up)
    _report(outcome, owned, json)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the demo found; documents and what is `shown` of them, largest total first."""

    first_draft_s: float
    partitions: Mapping[int, Conservation]
    killed_workers: int
    documents: list[Document]
    verified: Verified
    shown: list[dict[str, Json]]

    @property
    def closed(self) -> bool:
        """Whether the equation closes in every partition."""
        return not any(partition.missing for partition in self.partitions.values())


def _run(
    owned: OwnedStack,
    supervisor: Supervisor,
    screen: DemoScreen,
    seconds: float,
    servers_up: float,
) -> _Outcome:
    around = owned.around
    servers = dict(owned.embedded.pids()) if owned.embedded else {}
    play = Play(around, supervisor, servers, seconds)
    with play:
        screen.say("waiting for the workers")
        play.await_drained()
        before = conservation(around, _quiet)
        screen.say("putting a catalog in force")
        sheet = play.sheet()
        apply_sheet(around, sheet, "the demo's catalog", Author("talea demo", "a new run"))
        play.start_metering()
        _traffic(play, screen, seconds, servers_up)
        screen.say("draining: waiting for the period to close and every invoice to be sealed")
        play.stop_metering()
        found = play.await_invoices(lambda: screen.show(play.look()))
        documents = sorted(found, key=_total_minor, reverse=True)
        play.await_drained()
        screen.say("refolding the log: verifying every invoice of this run")
        verified = verify_documents(around, [d.sealed.number for d in documents])
        after = conservation(around, _quiet)
        with around.database.session("demo") as connection:
            shown = [whole(connection, document) for document in documents]
        counts = {number: now.since(before[number]) for number, now in after.items()}
        return _Outcome(
            play.first_draft_s(servers_up), counts, play.killed, documents, verified, shown
        )


def _traffic(play: Play, screen: DemoScreen, seconds: float, servers_up: float) -> None:
    """Let usage flow; on the way resend duplicates, send three bad events, kill a worker."""
    started = time.monotonic()
    script: list[tuple[float, Callable[[], str]]] = [
        (0.35, play.resend_burst),
        (0.45, play.send_bad_events),
        (0.55, play.kill_metering),
    ]
    while (passed := time.monotonic() - started) < seconds:
        while script and passed >= script[0][0] * seconds:
            screen.say(script.pop(0)[1]())
        look: Billed = play.look()
        if look.drafts and play.first_draft_at is None:
            play.first_draft_at = time.monotonic()
            screen.say(f"first priced draft {play.first_draft_at - servers_up:.1f} s after start")
        screen.show(look)
        time.sleep(0.5)


def _quiet(_done: int, _of: int) -> None:
    """Count without telling."""


def _total_minor(document: Document) -> int:
    return int(str(summary(document, "")["total_minor"]))


def _report(outcome: _Outcome, owned: OwnedStack, json: bool) -> None:
    pairs = zip(outcome.documents, outcome.shown, strict=True)
    rows = [summary(document, str(shown["state"])) for document, shown in pairs]
    verified = outcome.verified
    mismatched = sorted(verified.faults)
    if json:
        print_json(
            {
                "first_draft_s": round(outcome.first_draft_s, 2),
                "counts": total(outcome.partitions),
                "killed_workers": outcome.killed_workers,
                "invoices": rows,
                "checked": verified.checked,
                "matched": verified.checked - len(mismatched),
                "mismatched": mismatched,
            }
        )
    else:
        for invoice in outcome.shown:
            out.print(invoice_text(invoice), markup=False, soft_wrap=True)
        out.print(invoice_table(rows))
        out.print()
        out.print(conservation_table(outcome.partitions.values()))
        _tell_where(outcome, owned)
    if mismatched or not outcome.closed:
        raise CheckFailed(
            f"{len(mismatched)} of {verified.checked} invoices do not match the log"
            if mismatched
            else "the conservation equation does not close: run `talea audit`"
        )


def _tell_where(outcome: _Outcome, owned: OwnedStack) -> None:
    """Say what was shown and where it all lies."""
    counts, verified = total(outcome.partitions), outcome.verified
    told = " + ".join(f"{counts[name]:,} {name}" for name in counts if name != "offered")
    closes = "closes" if outcome.closed else "DOES NOT CLOSE"
    talea = sys.argv[0] if "/" in sys.argv[0] else "talea"
    number = outcome.documents[0].sealed.number
    for line in (
        "",
        f"conservation {closes}: {counts['offered']:,} offered = {told}",
        f"{verified.checked - len(verified.faults)} of {verified.checked} invoices recomputed from"
        f" the log, byte for byte; workers killed on the way: {outcome.killed_workers}",
        f"first priced draft {outcome.first_draft_s:.1f} s after the servers were up",
        f"data, logs and addresses lie in {owned.home.path}; look again with",
        f"  {talea} invoices show {number}",
        f"  {talea} verify {number} --log",
        f"  {talea} audit",
    ):
        out.print(line, soft_wrap=True, markup=False)
