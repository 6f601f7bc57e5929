"""What is issued, in memory: chains, their checkpoints, contents that are removed.

Owns: the queries of stores/postgres/checkpoints.py and retention.py, reading documents.
Law: one contract suite runs these and the real ones.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from pipeline.catalog.facts import FactKind
from pipeline.core.errors import BrokenInvariant
from pipeline.ledger.checkpoint import Checkpoint
from pipeline.ledger.seal import Sealed
from pipeline.simulate.shelf_session import ShelfSession
from pipeline.stores.postgres.documents import Document


class ArchiveSession(ShelfSession):
    """Issued documents as they lie on the shelf."""

    def issuers_sealed(self) -> list[str]:
        """Return who issued anything."""
        self.effect("read issuers")
        return sorted({issuer for issuer, _ in self.tables.documents})

    def chain_after(self, issuer: str, place: int, until: int | None = None) -> list[Sealed]:
        """Return the documents of an issuer after a place, in order."""
        self.effect("read chain")
        return [
            document.sealed
            for (of, at), document in sorted(self.tables.documents.items())
            if of == issuer and place < at and (until is None or at <= until)
        ]

    def read_checkpoints(self, issuer: str | None = None) -> list[Checkpoint]:
        """Return the checkpoints of an issuer, or all, by issuer and place."""
        self.effect("read checkpoints")
        found = sorted(self.tables.checkpoints.items())
        return [checkpoint for (of, _), checkpoint in found if issuer in (None, of)]

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; where one stands at its place, that one stays."""
        with self.transaction():
            place = checkpoint.head.issuer, checkpoint.head.place
            self.tables.checkpoints.setdefault(place, checkpoint)

    def read_documents(self, payer: str | None = None) -> list[Document]:
        """Return the documents of one payer, or all, by issuer and place."""
        found = sorted(self.tables.documents.items())
        return [document for _, document in found if payer in (None, document.payer)]

    def remove_contents(self, issuer: str, kept: Mapping[int, str]) -> None:
        """Leave of the documents at places of an issuer's chain what is to be kept of each.

        Raises:
            BrokenInvariant: no fact tells of it, nobody signed it, or it is done.

        """
        signed = (place for of, place in self.tables.checkpoints if of == issuer)
        facts = (f for f in self.tables.facts.values() if f.kind is FactKind.RETENTION)
        told = (cast(int, fact.body["place"]) for fact in facts if fact.subject == issuer)
        if min(max(signed, default=0), max(told, default=0)) < max(kept):
            raise BrokenInvariant(f"contents of {issuer} never change")
        if any((issuer, place) in self.tables.removed for place in kept):
            raise BrokenInvariant(f"contents of {issuer} are removed already")
        for place, text in kept.items():
            document = self.tables.documents[issuer, place]
            self.tables.removed[issuer, place] = document.sealed.content
            sealed = replace(document.sealed, content=b"")
            self.tables.documents[issuer, place] = replace(document, sealed=sealed, kept=text)
