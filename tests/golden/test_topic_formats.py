"""What consumers of the billing topics rely on, byte by byte; strangers read these in any language.

The golden files were worked out once; no option rewrites them.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from builders import T0, kept
from golden import scenes
from pipeline.core.identity import Json
from pipeline.invoice.published import (
    DraftInvoice,
    DraftLine,
    DraftPosition,
    Issued,
    draft_value,
    issued_value,
    line_values,
    read_draft,
    read_issued,
    read_line,
)

FORMATS = Path(__file__).parent / "formats"
AT = DraftPosition(3, 41, T0 + 1)
DRAFT = DraftInvoice(AT, scenes.content())


def golden(name: str) -> bytes:
    return (FORMATS / name).read_bytes().removesuffix(b"\n")


def plain(value: Any) -> bytes:
    """Canonical JSON as anybody's library writes it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


POSITION = {"partition": 3, "offset": 41, "log_time": "2026-03-01T00:00:00.000001Z"}


def test_a_draft() -> None:
    content = json.loads(golden("content.json"))

    assert draft_value(kept(DRAFT)) == golden("draft.json")
    assert golden("draft.json") == plain(
        {"format": "talea.draft.1", "position": POSITION, "content": content}
    )
    assert read_draft(golden("draft.json")) == DRAFT


def test_a_draft_that_would_not_be_issued_says_why() -> None:
    issue: dict[str, Json] = {"code": "beyond_last_tier", "severity": "critical"}
    value = draft_value(kept(replace(DRAFT, issues=(issue,))))

    assert json.loads(value) == json.loads(golden("draft.json")) | {"validation_issues": [issue]}
    assert read_draft(value) == replace(DRAFT, issues=(issue,))


def test_a_line_of_a_draft() -> None:
    content = json.loads(golden("content.json"))
    line = DraftLine(AT, DRAFT.id, DRAFT.customer, DRAFT.lines[0])

    assert next(value for _, value in line_values(DRAFT.id, "acme", kept(DRAFT))) == golden(
        "draft_line.json"
    )
    assert golden("draft_line.json") == plain(
        {
            "format": "talea.draft-line.1",
            "position": POSITION,
            "document": content["id"],
            "customer": "acme",
            "line": content["lines"][0],
        }
    )
    assert read_line(golden("draft_line.json")) == line


def test_an_issued_document_is_the_text_that_was_sealed() -> None:
    content, record = golden("content.json"), golden("issue_record.json")
    seal = hashlib.sha256(record).digest()
    issued = Issued("talea", 1, "T-000001", DRAFT.id, "acme", content, record, seal)

    assert issued_value(issued) == golden("issued.json")
    assert golden("issued.json") == plain(
        {
            "format": "talea.issued.1",
            "issuer": "talea",
            "place": 1,
            "number": "T-000001",
            "id": json.loads(content)["id"],
            "customer": "acme",
            "content": content.decode(),
            "issue_record": record.decode(),
            "seal": seal.hex(),
        }
    )
    assert read_issued(golden("issued.json")) == issued
    second = replace(issued, ordinal=1)
    assert json.loads(issued_value(second)) == {**json.loads(issued_value(issued)), "ordinal": 1}
    assert read_issued(issued_value(second)) == second
    told = json.loads(golden("issued.json"))
    digest = hashlib.sha256(told["content"].encode()).hexdigest()
    assert json.loads(told["issue_record"])["content_digest"] == digest
