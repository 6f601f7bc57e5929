"""A pricing incident on real servers, from the alarm to the post-mortem: by the drill."""

import json
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from fixtures_stack import StackMaker
from integration.commands import talea
from integration.running import RunningStack
from pipeline.cli.drill_play import DrillPlay
from pipeline.core.errors import BadInput
from pipeline.stores.kafka import KafkaLog
from pipeline.stores.postgres.facts import Author
from pipeline.workers.hindsight import drafts_at
from pipeline.workers.incidents import close, credit, known_incident, open_incident, roll_back
from pipeline.workers.replaying import list_replays

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

ADA = Author("ada", "once more")
RIGHT = {"ana": 120, "ben": 300, "cid": 70}
"""What an hour is, in cents."""


def test_who_was_billed_wrongly_gets_a_note_and_a_notice_and_nobody_else_does(
    make_stack: StackMaker, tmp_path: Path
) -> None:
    stack = make_stack()
    stack.start()

    outcome = DrillPlay(stack.around, tmp_path, quiet=True).play()

    assert outcome.faults == []
    assert outcome.alarmed == sorted(RIGHT)
    told = outcome.told
    off = {each.customer: each.difference_minor for each in told.documents}
    assert off == {name: -9 * minor for name, minor in RIGHT.items()}
    assert told.missing == []
    assert told.totals == {"EUR": -9 * 490}
    notes = {document.sealed.number for document in stack.documents() if document.kind != "invoice"}
    assert {each.note for each in told.documents} == notes
    assert all(number.startswith("DN-") for number in notes)
    assert outcome.verified == 8 * 4 + 3

    written = json.loads((tmp_path / "report.json").read_text())
    assert written["total_difference_minor"] == {"EUR": -4410}
    assert [entry["what"] for entry in written["timeline"]] == [
        "plan standard was wrong: prices",
        "the incident was found",
        "the prices were rolled back",
        "the notes were decided",
        "the incident was closed",
    ]
    mails = {
        path.name: message_from_bytes(path.read_bytes(), policy=policy.default)
        for path in (tmp_path / "notices").iterdir()
    }
    assert sorted(mails) == [
        "customer-ana.eml",
        "customer-ben.eml",
        "customer-cid.eml",
        "finance.eml",
        "legal.eml",
    ]
    assert mails["customer-ben.eml"]["To"] == "ben@drill.invalid"
    for page in ("report.md", "report.html"):
        assert "-44.10 EUR" in (tmp_path / page).read_text()

    facts, incident = known_incident(stack.around, "INC-1")
    first = told.timeline[0].at
    open_incident(stack.around, "INC-1", first, None, [], ADA)
    assert roll_back(stack.around, "INC-1", ADA) == []
    diff_id = str(incident.diff_id)
    assert credit(stack.around, "INC-1", diff_id, ADA).documents == told.documents
    close(stack.around, "INC-1", ADA)
    assert known_incident(stack.around, "INC-1")[0] == facts  # each step twice is once
    with pytest.raises(BadInput, match="no price was changed since"):
        open_incident(stack.around, "INC-2", first, first, [], ADA)
    with pytest.raises(BadInput, match=f"was credited by {diff_id} already"):
        credit(stack.around, "INC-1", "diff_of_another", ADA)
    assert list_replays(stack.around) == []
    as_they_were(stack)

    listed = json.loads(talea(stack, "incident", "list", "--json").stdout)
    assert [(each["name"], each["step"]) for each in listed] == [("INC-1", "closed")]
    unknown = talea(stack, "incident", "survey", "INC-9")
    assert (unknown.returncode, "no incident is called 'INC-9'" in unknown.stderr) == (2, True)
    stack.close_the_books()


def as_they_were(stack: RunningStack) -> None:
    """Each draft behind the notes is in the log still, byte for byte."""
    log, drafts = KafkaLog(stack.around.kafka), [e for name in RIGHT for e in stack.drafts(name)]
    assert {each.payer for each in drafts} == RIGHT.keys()
    with stack.around.database.session("as it was") as session:
        for each in drafts:
            place = each.position.offset
            made = drafts_at(stack.around, log, session, each.payer, place, None, lambda *_: None)
            assert [(one.text, one.position) for one in made] == [(each.text, each.position)]
