-- Where the collector stands in each partition of usage.raw, and what became of it so far.
-- after: SELECT has_table_privilege('talea_app', 'collector_cursor', 'INSERT, UPDATE')

-- Written after the broker acked all that the offset steps over, from where the writer believes
-- it to stand. source_offset + 1 = collected + rejected + skipped, unless retention was faster.
CREATE TABLE collector_cursor (
    partition_no  integer PRIMARY KEY,
    topic_id      text NOT NULL,        -- of usage.raw: a recreated topic is noticed
    source_offset bigint NOT NULL CHECK (source_offset >= -1),
    collected     bigint NOT NULL,      -- events sent on to usage.events
    rejected      bigint NOT NULL,      -- messages sent to usage.rejected
    skipped       bigint NOT NULL       -- offsets without a message: marks of transactions
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE ON collector_cursor TO talea_app;
