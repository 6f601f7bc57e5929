"""The outside tax engine over HTTP, against a real server on loopback."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from contract.engines import serving
from pipeline.core.errors import BadInput, ServerFailed
from pipeline.core.identity import Json, canonical, digest
from pipeline.stores.tax_engine import HttpTaxEngine, TaxEngineSaysNo

QUESTION: dict[str, Json] = {"customer": "acme", "day": "2026-03-31"}
SAID = {"category": "S", "jurisdiction": "US-CA", "rate_percent": "7.25"}


@dataclass
class Desk:
    """Answers each request with the next of (status, text, seconds it takes)."""

    answers: list[tuple[int, str, float]]
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def reply(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        self.bodies.append(body)
        self.headers.append(headers)
        status, text, takes_s = self.answers.pop(0)
        time.sleep(takes_s)
        return status, text


def asked(desk: Desk, timeout_s: float = 5.0, tries: int = 3) -> object:
    with serving(desk.reply) as url:
        return HttpTaxEngine(url, timeout_s, tries).ask(QUESTION)


def test_a_question_is_sent_as_it_is_known_and_its_answer_read() -> None:
    desk = Desk([(200, json.dumps(SAID), 0)])

    assert asked(desk) == SAID
    assert desk.bodies == [canonical(QUESTION)]
    assert desk.headers[0]["Idempotency-Key"] == digest(canonical(QUESTION))
    assert desk.headers[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize("first", [(503, "busy", 0.0), (429, "slower", 0.0), (200, "{}", 1.0)])
def test_an_engine_that_stumbles_is_asked_again(first: tuple[int, str, float]) -> None:
    desk = Desk([first, (200, json.dumps(SAID), 0)])

    assert asked(desk, timeout_s=0.3) == SAID
    assert desk.bodies == [canonical(QUESTION)] * 2


def test_one_that_never_answers_is_given_up() -> None:
    desk = Desk([(500, "no", 0)] * 2)

    with pytest.raises(ServerFailed, match="does not answer: it says 500: no"):
        asked(desk, tries=2)
    assert len(desk.bodies) == 2


def test_one_that_is_not_there_is_given_up() -> None:
    with serving(Desk([]).reply) as url:
        pass
    with pytest.raises(ServerFailed, match="Connection refused"):
        HttpTaxEngine(url, 1.0, 2).ask(QUESTION)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((422, "no such place", 0.0), "it says 422: no such place"),
        ((200, "hello", 0.0), "its answer is no JSON object"),
        ((200, "[1]", 0.0), "its answer is no JSON object"),
    ],
)
def test_a_no_is_no_silence(answer: tuple[int, str, float], words: str) -> None:
    desk = Desk([answer])

    with pytest.raises(TaxEngineSaysNo, match=words):
        asked(desk)
    assert len(desk.bodies) == 1


def test_who_asks_is_told_in_a_header_and_never_in_words() -> None:
    desk = Desk([(200, json.dumps(SAID), 0)])
    with serving(desk.reply) as url:
        engine = HttpTaxEngine(url.replace("http://", "http://me:secret@"), 5.0, 1)
        engine.ask(QUESTION)

    assert desk.headers[0]["Authorization"] == "Basic bWU6c2VjcmV0"
    assert "secret" not in engine.name


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(BadInput, match="TALEA_TAX_ENGINE: 'tax' is no URL such as https"):
        HttpTaxEngine("tax", 1.0, 1)
