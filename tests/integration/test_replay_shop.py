"""Everything that a shop of every price, cycle and correction issued, replayed: no byte differs.

`make replay` does it with a thousand invoices and a million events, and says how fast.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fixtures_stack import StackMaker
from integration.generated import DOCUMENTS_A_CUSTOMER, HORIZON_S, GeneratedShop
from integration.replays import replayed, told
from integration.running import wipe_claims
from pipeline.workers.replaying import Asked, drop_replay, list_replays, run_replay
from price_oracle import PRICES

INVOICES = int(os.environ.get("TALEA_REPLAY_INVOICES", "90"))
EVENTS = int(os.environ.get("TALEA_REPLAY_EVENTS", "6000"))
BIG = "TALEA_REPLAY_EVENTS" in os.environ
WHAT_IF_S_MAX, P99_RATIO_MAX, SAMPLES = 60.0, 1.5, 100
PATIENCE_S = 90.0 + EVENTS / 2_000 + INVOICES

pytestmark = [pytest.mark.servers, pytest.mark.timeout(int(300 + 6 * PATIENCE_S))]


def test_a_shop_of_every_shape_comes_out_the_same(make_stack: StackMaker, tmp_path: Path) -> None:
    stack = make_stack(horizon_s=HORIZON_S)
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
    copied = ("--partitions", "3", "--workers", "2")
    with replayed(stack, "copied", *copied, patience_s=PATIENCE_S) as ran:
        assert (ran["identical"], ran["differing"]) == (True, [])
        assert ran["documents"] == documents
    same = tmp_path / "same.yaml"
    same.write_text(shop.catalog())
    with replayed(stack, "same", "--catalog", str(same), patience_s=PATIENCE_S) as ran:
        what_if = told(stack, "what-if", "same")
        assert [each["difference_minor"] for each in what_if["revenue"]] == [0]
        assert told(stack, "diff", "same")["invoices"] == []
        assert ran["events"] == offered
        live, again = shop.live_events_per_s, ran["events_per_s"]
        print(
            f"{documents} documents, {offered:,} events: 0 bytes differ; live {live:,.0f} events/s,"
            f" replayed {again:,.0f}/s, what-if in {ran['seconds']:.1f} s"
        )
        if BIG:
            assert again >= live
            assert ran["seconds"] < WHAT_IF_S_MAX * max(1.0, offered / 1_000_000)
    if BIG:
        beside(shop)
    assert len(stack.documents()) == documents


def beside(shop: GeneratedShop) -> None:
    """Whoever uses the stack hardly notices a replay."""
    around, name = shop.stack.around, "beside"
    alone = shop.p99_s(SAMPLES)
    with ThreadPoolExecutor(1) as thread:
        ran = thread.submit(run_replay, around, name, Asked({}), 1, lambda _: None)
        shop.stack.until(lambda: [e.done > 0 for e in list_replays(around)] == [True], "it folds")
        during = shop.p99_s(SAMPLES)
        assert not ran.done(), "the replay was over before the last sample: more events"
        assert ran.result().identical
    drop_replay(around, name)
    ratio = during / alone
    print(
        f"at p99 an event is in the books after {alone:.3f} s, beside a replay after"
        f" {during:.3f} s: {ratio:.2f} x"
    )
    assert ratio <= P99_RATIO_MAX
