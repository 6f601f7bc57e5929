"""`talea` as a person meets it: catalogs, usage, and one line for whatever goes wrong."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import RunningStack
from pipeline.core.calendar import SECOND, instant_text
from pipeline.embedded import Home
from pipeline.stores.clock import wall_clock

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A tenant without a worker: commands must do with the servers alone."""
    return make_shared_stack()


def one_line(ran: subprocess.CompletedProcess[str], status: int) -> str:
    """Hold that a command failed as it should: its status, and why in its last line."""
    assert ran.returncode == status, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    return ran.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    start = (wall_clock() // SECOND - 60) * SECOND
    path = tmp_path_factory.mktemp("catalog") / "shop.yaml"
    path.write_text(shop.catalog(["ann", "bob"], start, None))
    return path


def test_a_catalog_is_in_force_when_the_command_returns(stack: RunningStack, catalog: Path) -> None:
    who = ("--actor", "ann-admin", "--message", "opening")
    ran = talea(stack, "catalog", "apply", str(catalog), "--json", *who)

    facts: Any = json.loads(ran.stdout)["facts"]
    assert ran.returncode == 0
    assert [fact["kind"] for fact in facts].count("subscription") == 2
    row = stack.connection.execute("SELECT max(fact_position) FROM tick WHERE acked").fetchone()
    assert row == (facts[-1]["serial"],)


def test_the_same_catalog_again_changes_nothing(stack: RunningStack, catalog: Path) -> None:
    ran = talea(stack, "catalog", "apply", str(catalog), "--json")

    assert (ran.returncode, json.loads(ran.stdout)) == (0, {"facts": []})


def test_a_used_meter_that_was_edited_fails_the_check(
    stack: RunningStack, catalog: Path, tmp_path: Path
) -> None:
    edited = tmp_path / "edited.yaml"
    edited.write_text(catalog.read_text().replace("aggregation: sum", "aggregation: max"))

    good = talea(stack, "catalog", "check", str(catalog), "--json")
    ran = talea(stack, "catalog", "check", str(edited), "--json")

    told = json.loads(ran.stdout)
    assert (good.returncode, json.loads(good.stdout)["problems"]) == (0, [])
    assert (ran.returncode, [p["path"] for p in told["problems"]]) == (1, ["meters[1]"])
    assert told["fact_position"] > 1
    assert talea(stack, "catalog", "check", str(edited), "--no-live").returncode == 0


def test_a_check_needs_no_log_on_the_servers(stack: RunningStack, catalog: Path) -> None:
    nowhere = {"TALEA_TENANT_SCHEMA": "nowhere"}
    ran = talea(stack, "catalog", "check", str(catalog), "--json", **nowhere)

    assert (ran.returncode, json.loads(ran.stdout)["fact_position"]) == (0, None)
    assert "--live" in one_line(
        talea(stack, "catalog", "check", str(catalog), "--live", **nowhere), 2
    )


def test_the_log_tells_who_decided_what_and_why(stack: RunningStack) -> None:
    ran = talea(stack, "catalog", "log", "--json")

    facts: Any = json.loads(ran.stdout)
    assert [fact["serial"] for fact in facts] == [*range(1, len(facts) + 1)]
    assert facts[0].keys() == {"serial", "time", "kind", "subject", "actor", "reason"}
    assert (facts[0]["kind"], facts[0]["actor"]) == ("log", "talea")
    assert ("meter", "gigabytes", "ann-admin", "opening") in [
        (fact["kind"], fact["subject"], fact["actor"], fact["reason"]) for fact in facts
    ]


def test_no_personal_value_stands_in_a_fact(stack: RunningStack) -> None:
    bodies = stack.connection.execute("SELECT body FROM fact WHERE kind = 'customer'").fetchall()

    assert bodies
    assert not any("Ms ann" in body for (body,) in bodies)


def test_a_bad_catalog_is_refused_with_line_and_path(stack: RunningStack, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("meters:\n  - {id: cpu, aggregation: sum, unit: s, window: PT7S}\nplan: []\n")

    told = one_line(talea(stack, "catalog", "apply", str(path)), 2)

    assert "bad.yaml" in told
    assert "line 2: meters[0].window" in told or "line 3: plan" in told


def test_a_file_that_is_not_there(stack: RunningStack) -> None:
    assert "no-such.yaml" in one_line(talea(stack, "catalog", "apply", "no-such.yaml"), 2)


def event(number: int, **data: str) -> str:
    body = {"customer": "ann", "meter": "gigabytes", "value": "1.25", **data}
    return json.dumps(
        {
            "specversion": "1.0",
            "type": "usage",
            "source": "cli",
            "id": str(number),
            "time": instant_text(wall_clock()),
            "data": body,
        }
    )


def test_usage_is_sent_and_the_bad_line_named(stack: RunningStack) -> None:
    lines = [event(1), event(2, value="1e5"), event(3), "{", event(4, customer="")]

    ran = talea(stack, "send", "-", "--json", given="\n".join(lines))

    assert ran.returncode == 2
    report = json.loads(ran.stdout)
    assert report["sent"] == 2
    assert [(r["line"], r["code"], r["path"]) for r in report["refused"]] == [
        (2, "bad_value", "data.value"),
        (4, "unreadable", ""),
        (5, "missing_field", "data.customer"),
    ]


def test_the_audit_counts_what_nobody_booked_yet_as_pending(stack: RunningStack) -> None:
    ran = talea(stack, "audit", "--json")

    told = json.loads(ran.stdout)
    assert (ran.returncode, told["closed"]) == (0, True)
    assert sum(p["pending"] for p in told["partitions"]) == 2
    assert set(told["partitions"][0]) == {
        "partition",
        "offered",
        "billed",
        "duplicate",
        "conflict",
        "late",
        "rejected",
        "pending",
    }


def test_a_command_over_named_servers_waits_for_nobody(stack: RunningStack) -> None:
    """`talea up` over the same servers holds the home, and so may another command."""
    with Home(stack.around.settings.home):
        ran = talea(stack, "invoices", "list", "--json")

    assert (ran.returncode, ran.stdout) == (0, "[]\n"), ran.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "word"),
    [
        (["no-such-command"], {}, 2, "no-such-command"),
        (["draft"], {}, 2, "customer"),
        (["draft", "ann", "--watch", "--json"], {}, 2, "--json"),
        (["verify", "S-000001", "--all"], {}, 2, "--all"),
        (["verify", "S-999999"], {}, 2, "S-999999"),
        (["invoices", "show", "S-999999"], {}, 2, "S-999999"),
        (["send", "no-such-file"], {}, 2, "no-such-file"),
        (["audit"], {"TALEA_TICK_S": "soon"}, 2, "TALEA_TICK_S"),
        (["audit"], {"TALEA_PARTITIONS": "5"}, 2, "TALEA_PARTITIONS=4"),
        (["audit"], {"TALEA_POSTGRES": "postgresql://x@127.0.0.1:1/x"}, 3, "Postgres"),
        (["audit"], {"TALEA_KAFKA": "127.0.0.1:1"}, 3, "Kafka"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(
    stack: RunningStack,
    arguments: list[str],
    environment: dict[str, str],
    status: int,
    word: str,
) -> None:
    assert word in one_line(talea(stack, *arguments, **environment), status)


def test_once_workers_run_the_books_close(stack: RunningStack) -> None:
    stack.start()
    stack.await_drained()

    assert stack.close_the_books()["billed"] == 2


GIGABYTES = 'unit_amount: "0.1275"'


def written(stack: RunningStack) -> int:
    return len(json.loads(talea(stack, "catalog", "log", "--json").stdout))


def draft_total(stack: RunningStack, customer: str) -> int:
    contents: list[Any] = [draft.content for draft in stack.drafts(customer)]
    return sum(content["totals"]["total_minor"] for content in contents)


def test_a_plan_tells_what_the_drafts_come_to_once_it_is_applied(
    stack: RunningStack, catalog: Path, tmp_path: Path
) -> None:
    """Two events of 1.25 GB at 0.1275 are 0.32 beside the fee, at 1.00 they are 2.50."""
    path = tmp_path / "dearer.yaml"
    path.write_text(catalog.read_text().replace(GIGABYTES, 'unit_amount: "1.00"'))
    before = written(stack)

    ran = talea(stack, "catalog", "plan", str(path), "--json")

    told: Any = json.loads(ran.stdout)
    assert (ran.returncode, written(stack)) == (0, before), ran.stderr
    assert ([e["id"] for e in told["changed"]], told["added"]) == (["shop"], [])
    assert (told["customers"], told["unrated"]) == (["ann", "bob"], [])
    assert [
        (each["customer"], each["before_minor"], each["after_minor"]) for each in told["drafts"]
    ] == [("ann", 1032, 1250), ("bob", 1000, 1000)]
    assert [total["difference_minor"] for total in told["totals"]] == [218]
    assert draft_total(stack, "ann") == 1032

    assert talea(stack, "catalog", "apply", str(path)).returncode == 0
    stack.until(lambda: draft_total(stack, "ann") == 1250, "the draft is what the plan said")


def test_what_was_in_force_is_shown_as_it_was_known(stack: RunningStack) -> None:
    def amounts(*options: str) -> list[str]:
        ran = talea(stack, "catalog", "show", "plan", "shop", "--json", *options)
        (plan,) = json.loads(ran.stdout)
        return [p["price"].get("unit_amount") for p in plan["document"]["prices"]][2:3]

    assert amounts() == ["1.00"]
    assert amounts("--known", str(written(stack) - 1)) == ["0.1275"]
    assert "no plan shop" in one_line(
        talea(stack, "catalog", "show", "plan", "shop", "--known", "2"), 2
    )


def test_a_price_that_changes_at_a_date_splits_the_invoice_s_line(
    stack: RunningStack, catalog: Path, tmp_path: Path
) -> None:
    date = (wall_clock() // SECOND + 2) * SECOND
    text = catalog.read_text().replace(GIGABYTES, 'unit_amount: "2.00"')
    text = text.replace("cycle:", f"effective: {instant_text(date)}\n    cycle:")
    path = tmp_path / "dated.yaml"
    path.write_text(text)
    assert talea(stack, "catalog", "apply", str(path)).returncode == 0
    stack.until(lambda: wall_clock() > date + SECOND, "the date is behind")
    assert talea(stack, "send", "-", given=event(10)).returncode == 0
    end = f"end: {instant_text((wall_clock() // SECOND + 1) * SECOND)}"
    path.write_text(text.replace("end: null", end, 1))
    assert talea(stack, "catalog", "apply", str(path)).returncode == 0

    (document,) = stack.await_documents(1)

    lines: Any = [x for x in document.content["lines"] if x["meter"] == "gigabytes"]  # type: ignore[index,union-attr,call-overload]
    assert [
        (x["pre_line_quantity"], x["quantity"], x["total_minor"], x["rate_card"]["price"])
        for x in lines
    ] == [
        ("0", "2.5", 250, {"type": "unit", "unit_amount": "1.00"}),
        ("2.5", "1.25", 250, {"type": "unit", "unit_amount": "2.00"}),
    ]
    assert stack.close_the_books()["billed"] == 3
