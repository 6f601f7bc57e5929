-- What happened to an issued document: an event with its amount and what it is known by; the state
-- on a row is the fold of the events up to it.
-- after: SELECT count(*) = 3 FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = 'invoice_event' AND column_name IN ('event', 'amount_minor', 'reference')

ALTER TABLE invoice_event
    ADD COLUMN event        text NOT NULL DEFAULT 'finalized',
    ADD COLUMN amount_minor bigint NOT NULL DEFAULT 0 CHECK (amount_minor >= 0),
    ADD COLUMN reference    text;
ALTER TABLE invoice_event ALTER COLUMN event DROP DEFAULT;
CREATE UNIQUE INDEX invoice_event_once ON invoice_event (document_id, event, reference)
    WHERE reference IS NOT NULL;
