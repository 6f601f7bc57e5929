"""A session: a connection that knows the queries of the house.

Owns: binding the query modules to a connection, so that workers need no more than the Protocols
that stand beside them.  Does not own: any query.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from pipeline.stores.postgres import (
    backfills,
    books,
    checkpoints,
    clocks,
    collecting,
    documents,
    drafts,
    evidence,
    facts,
    late,
    life,
    pauses,
    preparing,
    publishing,
    restoring,
    retention,
    reversals,
    sequences,
    shadows,
    standstill,
    usage,
    validation,
)


class Session(psycopg.Connection[TupleRow]):
    """One connection; each function below has it as its first argument."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Run a transaction that sees one state of everything."""
        with self.transaction():
            self.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Run a snapshot in which no statement waits for what another came to.

        Whoever wants a result waits for it, and for all that was asked before; so does the end.
        """
        try:
            with self.pipeline():
                self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                yield
                self.execute("COMMIT")
        except BaseException:
            if self.info.transaction_status != TransactionStatus.UNKNOWN:
                self.rollback()
            raise

    append_facts = facts.append_facts
    fact_head = facts.fact_head
    fact_position = facts.fact_position
    last_acked_tick = facts.last_acked_tick
    last_tick = facts.last_tick
    mark_acked = facts.mark_acked
    mark_mirrored = facts.mark_mirrored
    read_facts = facts.read_facts
    read_skips = facts.read_skips
    ticks_from = facts.ticks_from
    try_lead = facts.try_lead
    clock = clocks.clock_of
    test_clock_start = clocks.test_clock_start
    unsettled = clocks.unsettled
    unacked_ticks = facts.unacked_ticks
    write_tick = facts.write_tick
    last_tick = facts.last_tick

    lead_restoring = restoring.lead_restoring
    seals_by_place = restoring.seals_by_place
    write_lost = restoring.write_lost

    last_tick_offset = books.last_tick_offset
    load_cursors = books.load_cursors
    load_cuts = books.load_cuts
    load_incomplete = sequences.load_incomplete
    load_sequence = sequences.load_sequence
    load_sequences = sequences.load_sequences
    offset_at = books.offset_at
    tick_before = books.tick_before
    tick_passed = books.tick_passed

    open_stands = collecting.open_stands
    save_stands = collecting.save_stands

    end_pause = pauses.end_pause
    lock_cursor = pauses.lock_cursor
    pause = pauses.pause
    read_pauses = pauses.read_pauses
    record_death = pauses.record_death

    drop_drafts = drafts.drop_drafts
    faulty_drafts = drafts.faulty_drafts
    hold_drafts = drafts.hold_drafts
    store_drafts = drafts.store_drafts
    awaited_taxes = drafts.awaited_taxes
    take_dirty = drafts.take_dirty

    ask_to_stop = shadows.ask_to_stop
    documents_beside = shadows.documents_beside
    documents_known = shadows.documents_known
    is_asked_to_stop = shadows.is_asked_to_stop
    is_led = shadows.is_led
    lead_replay = shadows.lead_replay
    moved_usage = shadows.moved_usage
    note_worked = shadows.note_worked
    read_shadow = shadows.read_shadow

    drop_unit = backfills.drop_unit
    forget_batches = backfills.forget_batches
    stage_unit = backfills.stage_unit
    staged_batches = backfills.staged_batches
    staged_unit = backfills.staged_unit

    hold_metering = standstill.hold_metering
    metering_held = standstill.metering_held

    list_reversals = reversals.list_reversals
    load_waiting = reversals.load_waiting
    reversed_already = reversals.reversed_already
    waiting_counts = reversals.waiting_counts

    ask_usage = usage.ask_usage
    evidence_of_usage = usage.evidence_of_usage
    digests_of_usage = evidence.digests_of_usage
    moved_since = usage.moved_since
    read_usage = usage.read_usage
    windows_of_usage = usage.windows_of_usage

    cuts_of_facts = late.cuts_of_facts
    late_payers = late.late_payers
    late_uncorrected = late.late_uncorrected
    late_usage = late.late_usage

    earlier_totals = validation.earlier_totals

    read_checkpoints = checkpoints.read_checkpoints
    write_checkpoint = checkpoints.write_checkpoint
    issuers_sealed = checkpoints.issuers_sealed

    remove_contents = retention.remove_contents

    credits_used = documents.credits_used
    chain_after = documents.chain_after
    document_of = documents.document_of
    find_document = documents.find_document
    find_line = documents.find_line
    issued_among = documents.issued_among
    read_documents = documents.read_documents
    register = documents.register
    notes_by_document = documents.notes_by_document
    notes_issued = documents.notes_issued
    settlement_of = documents.settlement_of

    read_events = life.read_events
    record_event = life.record_event
    states = life.states

    carried_by = preparing.carried_by
    cuts_before = preparing.cuts_before
    documents_owed = preparing.documents_owed
    issuers_waiting = preparing.issuers_waiting
    read_cuts = preparing.read_cuts
    read_prepared = preparing.read_prepared
    save_prepared = preparing.save_prepared
    take_cuts = preparing.take_cuts
    cuts_prepared = preparing.cuts_prepared
    hold_all_cuts = preparing.hold_all_cuts
    release_all_cuts = preparing.release_all_cuts

    begin_publication = publishing.begin_publication
    cluster_identity = publishing.cluster_identity
    lead_publishing = publishing.lead_publishing
    note_keys = publishing.note_keys
    publication_identity = publishing.publication_identity
    read_owed = publishing.read_owed
    sealed_at = publishing.sealed_at
    settle = publishing.settle
