-- Reversals: what waits for its original, what was matched; how many events a row gave back.
-- after: SELECT has_table_privilege('talea_app', 'reversal', 'UPDATE') AND NOT EXISTS (SELECT FROM usage WHERE reversed <> 0)

-- Of one original and payload one row, for ever. The rest of a row is what booking takes off
-- once a fact matches it.
CREATE TABLE reversal (
    partition_no  integer NOT NULL,
    original_key  bytea NOT NULL,
    payload_print bytea NOT NULL,
    source_offset bigint NOT NULL,      -- of the reversal itself
    place         integer NOT NULL,     -- in its message
    state         text NOT NULL,        -- waiting, matched, conflict
    customer      text NOT NULL,
    meter         text NOT NULL,
    scale         smallint NOT NULL,
    dimensions    text NOT NULL,        -- canonical JSON: those the meter declares
    window_us     bigint NOT NULL,
    time_us       bigint NOT NULL,      -- the original's
    value         numeric NOT NULL,     -- a mantissa at this scale
    point_key     bytea NOT NULL,
    point_time_us bigint NOT NULL,
    match_offset  bigint,               -- where the original stands that a fact names
    match_place   integer,
    PRIMARY KEY (partition_no, original_key, payload_print)
);
CREATE UNIQUE INDEX reversal_place ON reversal (partition_no, source_offset, place);
CREATE INDEX reversal_waiting ON reversal (partition_no) WHERE state = 'waiting';

-- `count` and `sum` are what is billed, a reversal as minus; events = count + 2 * reversed.
ALTER TABLE usage ADD COLUMN reversed bigint NOT NULL DEFAULT 0;

GRANT SELECT, INSERT, UPDATE ON reversal TO talea_app;
