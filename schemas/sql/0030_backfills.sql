-- Usage that is to come in bulk and waits for somebody to commit it: staged, nothing of it is billed. Facts
-- say what became of a unit; its batches go once it is committed, for the log has them.
-- after: SELECT count(*) = 0 FROM backfill_batch

CREATE TABLE backfill (
    name   text PRIMARY KEY,
    digest text NOT NULL,                         -- of its events, in whatever order
    events bigint NOT NULL,
    source text NOT NULL,                         -- the file it was read from
    staged timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE backfill_batch (
    name         text NOT NULL REFERENCES backfill ON DELETE CASCADE,
    ordinal      integer NOT NULL,
    partition_no integer NOT NULL,
    batch        bytea NOT NULL,                  -- a UsageBatch, as it would stand in the log
    PRIMARY KEY (name, ordinal)
);

GRANT SELECT, INSERT, DELETE ON backfill, backfill_batch TO talea_app;
