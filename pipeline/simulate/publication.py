"""The publication of the auditor: what a consumer of the billing topics must have seen.

Owns: the fold of the topics, held against what was committed.
Does not own: what must be committed (auditor.py).
Law: it shares no step with the pipeline.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.calendar import instant_text
from pipeline.simulate.database import Tables
from pipeline.simulate.shelves import Shelves
from pipeline.stores.postgres.drafts import Draft

Told = tuple[str, dict[str, Any] | None]
"""Key and value of a record; None: it is gone."""


@dataclass(slots=True)
class Publication:
    """What one world published; `topics` are those of drafts, lines and documents."""

    tables: Tables
    stored: Sequence[Draft]
    shelves: Shelves
    topics: tuple[str, str, str]

    def faults(self) -> Iterator[str]:
        """Yield every difference."""
        drafts, lines, documents = map(self._told, self.topics)
        yield from self._never_committed(drafts)
        kept = self.tables.drafts.values()
        told = {key: (value["position"], value["content"]) for key, value in _last(drafts).items()}
        must = {draft.id: (_position(draft), draft.content) for draft in kept}
        yield from _unequal("draft", told, must)
        told_lines = {key: value["line"] for key, value in _last(lines).items()}
        must_lines = {line["id"]: line for d in kept for line in _lines(d.content)}
        yield from _unequal("line", told_lines, must_lines)
        yield from self._documents(documents)

    def _told(self, topic: str) -> list[Told]:
        return [
            (found.key.decode(), None if found.value is None else json.loads(found.value))
            for found in self.shelves.whole(topic)
        ]

    def _never_committed(self, drafts: Sequence[Told]) -> Iterator[str]:
        """Yield drafts that were published and never stored, or behind a later state."""
        stored: dict[tuple[str, int], list[Draft]] = {}
        for draft in self.stored:
            stored.setdefault((draft.id, draft.position.offset), []).append(draft)
        reached: dict[str, int] = {}
        for key, value in drafts:
            if value is None:
                continue
            said = value["position"], value["content"]
            known = stored.get((key, value["position"]["offset"]), ())
            if not any(said == (_position(draft), draft.content) for draft in known):
                yield f"draft {key} was published and never committed: {value['position']}"
            offset = value["position"]["offset"]
            if offset < reached.get(key, -1):
                yield f"draft {key} fell back from {reached[key]} to {offset}"
            reached[key] = offset

    def _documents(self, told: Sequence[Told]) -> Iterator[str]:
        """Yield documents that are missing, other than issued, or out of their chain's order."""
        seen: dict[str, list[int]] = {}
        for key, value in told:
            assert value is not None
            place = value["issuer"], value["place"]
            issued = self.tables.documents.get(place)
            same = issued is not None and (
                value["content"].encode() == issued.sealed.content
                and value["issue_record"].encode() == issued.sealed.record
                and value["seal"] == issued.sealed.seal.hex()
                and key == issued.id
            )
            if not same:
                yield f"document {place} was published and never issued so"
            places = seen.setdefault(place[0], [])
            if place[1] not in places:
                places.append(place[1])
        for issuer in sorted({issuer for issuer, _ in self.tables.documents} | seen.keys()):
            gone = {place for of, place in self.tables.removed if of == issuer}
            gone -= {*seen.get(issuer, [])}  # it went before it was published
            own = (place for of, place in sorted(self.tables.documents) if of == issuer)
            must = [place for place in own if place not in gone]
            if seen.get(issuer, []) != must:
                yield f"documents of {issuer}: published {seen.get(issuer)}, issued {must}"


def _position(draft: Draft) -> dict[str, Any]:
    at = draft.position
    return {
        "partition": at.partition,
        "offset": at.offset,
        "log_time": instant_text(at.log_time),
    }


def _lines(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = content["lines"]
    return found


def _last(told: Sequence[Told]) -> dict[str, dict[str, Any]]:
    """Return the last value of every key that has one."""
    return {key: value for key, value in dict(told).items() if value is not None}


def _unequal(what: str, told: Mapping[str, object], must: Mapping[str, object]) -> Iterator[str]:
    for key in sorted(told.keys() | must.keys()):
        if told.get(key) != must.get(key):
            yield f"{what} {key}: published {told.get(key)}, committed {must.get(key)}"
