"""What is owed to the billing topics, in memory: the queries of stores/postgres/publishing.py.

Law: one contract suite runs these and the real ones.
"""

from collections.abc import Iterable, Mapping

from pipeline.core.identity import canonical
from pipeline.invoice.published import DraftText, Issued
from pipeline.simulate.books_session import BookSession
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.publishing import DraftChange, Owed


class PublishingSession(BookSession):
    """Marks of changed drafts, what stands on the topics, and up to where."""

    def mark_draft(self, draft_id: str, payer: str) -> None:
        """Note that a draft was written or deleted, in the transaction that does it."""
        number = self.tables.marked["marks"] = self.tables.marked.get("marks", 0) + 1
        self.tables.draft_changes[number] = (draft_id, payer)

    def lead_publishing(self) -> bool:
        """Return whether publishing is this session's, from now on until it ends."""
        return self.lock("publisher")

    def cluster_identity(self) -> str:
        """Return what tells this database from every other."""
        return "memory"

    def publication_identity(self) -> str | None:
        """Return between which database and topics was published so far; None: never."""
        self.effect("read identity")
        return self.tables.publication.get("identity")

    def sealed_at(self, issuer: str, place: int) -> bytes | None:
        """Return the seal at a place of an issuer's chain."""
        document = self.tables.documents.get((issuer, place))
        return document.sealed.seal if document else None

    def begin_publication(
        self,
        identity: str,
        standing: Mapping[str, tuple[str, frozenset[str]]],
        chains: Mapping[str, int],
    ) -> None:
        """Owe everything anew, knowing what stands."""
        with self.transaction():
            tables = self.tables
            tables.published.become(standing)
            tables.chains.become(chains)
            owed = {draft.id: draft.payer for draft in tables.drafts.values()}
            for draft_id, payer in sorted((owed | {k: v[0] for k, v in standing.items()}).items()):
                self.mark_draft(draft_id, payer)
            tables.publication["identity"] = identity

    def read_owed(self, count_max: int) -> Owed:
        """Return up to so many documents and changes that are not published yet."""
        self.effect("read owed")
        tables, marks = self.tables, dict[tuple[str, str], list[int]]()
        for number, change in sorted(tables.draft_changes.items()):
            if change in marks or len(marks) < count_max:
                marks.setdefault(change, []).append(number)
        changes = [
            DraftChange(draft_id, payer, numbers, self._standing(draft_id), self._text(draft_id))
            for (draft_id, payer), numbers in sorted(marks.items())
        ]
        documents = [
            Issued(
                issuer,
                place,
                document.sealed.number,
                document.id,
                document.payer,
                document.sealed.content,
                document.sealed.record,
                document.sealed.seal,
                document.ordinal,
            )
            for (issuer, place), document in sorted(tables.documents.items())
            if place > tables.chains.get(issuer, 0) and document.kept is None
        ][:count_max]
        return Owed(documents, changes if len(documents) < count_max else [])

    def _standing(self, draft_id: str) -> frozenset[str] | None:
        found = self.tables.published.get(draft_id)
        return found[1] if found else None

    def _text(self, draft_id: str) -> DraftText | None:
        draft: Draft | None = self.tables.drafts.get(draft_id)
        if draft is None:
            return None
        issues = canonical([dict(issue) for issue in draft.issues]).decode()
        return DraftText.kept(draft.position, draft.text, issues)

    def note_keys(self, changes: Iterable[DraftChange]) -> None:
        """Note every key that is about to be sent, beside those that may stand already."""
        with self.transaction():
            for change in changes:
                if change.draft is not None:
                    lines = (change.standing or frozenset()) | change.draft.lines.keys()
                    self.tables.published[change.id] = (change.payer, frozenset(lines))

    def settle(self, owed: Owed) -> None:
        """Note that all of it is acked."""
        with self.transaction():
            for change in owed.changes:
                for mark in change.marks:
                    self.tables.draft_changes.pop(mark, None)
                if change.draft is None:
                    self.tables.published.pop(change.id, None)
                else:
                    lines = frozenset(change.draft.lines)
                    self.tables.published[change.id] = (change.payer, lines)
            for each in owed.documents:
                self.tables.chains[each.issuer] = each.place
