"""Everything that a shop of every price, cycle and correction issued, replayed: no byte differs.

`make replay` does it with a thousand invoices and a million events, and says how fast.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import pytest

from fixtures_stack import StackMaker
from integration.commands import talea_within
from integration.generated import DOCUMENTS_A_CUSTOMER, HORIZON_S, GeneratedShop
from integration.replays import replayed, told
from integration.running import wipe_claims
from pipeline.workers.replaying import drop_replay, list_replays, stop_replay
from price_oracle import PRICES

INVOICES = int(os.environ.get("TALEA_REPLAY_INVOICES", "90"))
EVENTS = int(os.environ.get("TALEA_REPLAY_EVENTS", "6000"))
BIG = "TALEA_REPLAY_EVENTS" in os.environ
WHAT_IF_S, P99_RATIO, SAMPLES = 60.0, 1.5, 100
"""Targets of a machine that does nothing else: they are told beside what was measured."""
SLOWER_MAX = 2.0
"""How far a busy machine may miss a ratio before the big run fails."""
PATIENCE_S = 90.0 + EVENTS / 2_000 + INVOICES

pytestmark = [pytest.mark.servers, pytest.mark.timeout(int(300 + 6 * PATIENCE_S))]


def test_a_shop_of_every_shape_comes_out_the_same(make_stack: StackMaker, tmp_path: Path) -> None:
    stack = make_stack(horizon_s=HORIZON_S)
    stack.nursery = None  # the CPU of commands is that of children of this process
    names = [f"g{number}" for number in range(int(INVOICES / DOCUMENTS_A_CUSTOMER) + 1)]
    shop = GeneratedShop(stack, names, EVENTS, PATIENCE_S)
    shop.open()
    shop.correct()
    shop.close()
    kinds, prices, documents = shop.shapes()
    assert kinds == {"invoice", "credit_note", "debit_note"}
    assert prices >= {*PRICES}
    assert documents >= INVOICES
    wipe_claims(stack.around)

    offered = stack.counts().offered
    with replayed(stack, "copied", "--partitions", "3", patience_s=PATIENCE_S) as ran:
        assert (ran["identical"], ran["differing"]) == (True, [])
        assert ran["documents"] == documents
    same = tmp_path / "same.yaml"
    same.write_text(shop.catalog())
    before_s = cpu_s()
    with replayed(stack, "same", "--catalog", str(same), patience_s=PATIENCE_S) as ran:
        worked_s = cpu_s() - before_s
        what_if = told(stack, "what-if", "same")
        assert [each["difference_minor"] for each in what_if["revenue"]] == [0]
        assert told(stack, "diff", "same")["invoices"] == []
        assert (ran["events"], ran["documents"]) == (offered, documents)
    ratio = shop.live_s / ran["seconds"]
    print(
        f"{documents:,} documents, {offered:,} events: 0 bytes differ; live"
        f" {offered / shop.live_s:,.0f} events/s to the last document, replayed"
        f" {ran['events_per_s']:,.0f}/s: {ratio:.2f} x (target 1); what-if in"
        f" {ran['seconds']:.1f} s (target {WHAT_IF_S:.0f} a million events),"
        f" {worked_s:.1f} s of CPU beside what the servers took, load {os.getloadavg()[0]:.1f}"
    )
    assert len(stack.documents()) == documents
    if BIG:
        assert ratio * SLOWER_MAX >= 1
        beside(shop)


def cpu_s() -> float:
    """What commands and the workers that they ended took so far."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def beside(shop: GeneratedShop) -> None:
    """Whoever uses the stack hardly notices a replay."""
    around, name = shop.stack.around, "beside"
    alone = shop.p99_s(SAMPLES)
    with ThreadPoolExecutor(1) as thread:
        ran = thread.submit(talea_within, PATIENCE_S, shop.stack, "replay", "run", name)
        shop.stack.until(lambda: [e.done > 0 for e in list_replays(around)] == [True], "it folds")
        during = shop.p99_s(SAMPLES)
        assert not ran.done(), "the replay was over before the last sample: more events"
        assert stop_replay(around, name)
    drop_replay(around, name)
    ratio = during / alone
    print(
        f"at p99 an event is in the books after {alone:.3f} s, beside a replay after"
        f" {during:.3f} s: {ratio:.2f} x (target {P99_RATIO})"
    )
    assert ratio <= P99_RATIO * SLOWER_MAX
