"""The outside tax engine: one question, one answer, over HTTP.

Owns: the interface (POST of a question's canonical JSON; JSON back with category, jurisdiction,
rate_percent as a string, reason), timeout, retries.
Does not own: what is asked and which answers are ones (tax/asking.py), what an answer becomes
(workers/taxing.py).
Law: the same question may be sent twice: its digest stands in the header Idempotency-Key.
"""

import json
from collections.abc import Mapping
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import stamina

from pipeline.core.errors import ServerFailed
from pipeline.core.identity import Json, canonical, digest
from pipeline.stores.addresses import read_address

SETTING = "TALEA_TAX_ENGINE"
_ANSWER_BYTES_MAX = 1 << 16
_BUSY = (408, 425, 429)


class TaxEngineSaysNo(Exception):
    """The engine answered, and will not answer this question: its status and words."""


class HttpTaxEngine:
    """An engine behind a URL. A user and password in the URL go into a header."""

    def __init__(self, url: str, timeout_s: float, tries: int) -> None:
        """Remember where it is, how long it is waited for and how often it is asked.

        Raises:
            BadInput: no http or https URL.

        """
        self._address = read_address(url, SETTING, "https://tax.example/v1/answers")
        self._timeout_s, self._tries = timeout_s, tries
        self.name = urlsplit(self._address.url).netloc

    def ask(self, question: Mapping[str, Json]) -> Mapping[str, object]:
        """Return what the engine says of a question.

        Raises:
            TaxEngineSaysNo: it refuses the question, or its answer is no JSON object.
            ServerFailed: it does not answer, however often it is asked.

        """
        body = canonical(dict(question))
        for attempt in stamina.retry_context(
            on=ServerFailed, attempts=self._tries, timeout=None, wait_initial=0.1, wait_max=2.0
        ):
            with attempt:
                return self._once(body)
        raise AssertionError("a retry returns or raises")

    def _once(self, body: bytes) -> Mapping[str, object]:
        headers = {
            **self._address.headers,
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Idempotency-Key": digest(body),
        }
        request = Request(self._address.url, body, headers, method="POST")
        try:
            with urlopen(request, timeout=self._timeout_s) as answer:
                told = answer.read(_ANSWER_BYTES_MAX)
        except HTTPError as error:
            with error:
                words = f"it says {error.code}: {error.read(200).decode(errors='replace')}"
                if error.code >= 500 or error.code in _BUSY:
                    raise self._away(words) from None
                raise TaxEngineSaysNo(words) from None
        except (URLError, HTTPException, OSError) as error:
            raise self._away(str(getattr(error, "reason", error))) from None
        try:
            found = json.loads(told)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TaxEngineSaysNo("its answer is no JSON object")
        return found

    def _away(self, why: str) -> ServerFailed:
        return ServerFailed(f"the tax engine at {self._address.url} does not answer: {why}")
