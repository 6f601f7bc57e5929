-- Partitions that stand still until a person decides, and what workers died of.
-- after: SELECT has_table_privilege('talea_app', 'pause', 'DELETE') AND count(*) = 0 FROM pause

-- The metering workers hold a partition from `source_offset` on while its row is here.
CREATE TABLE pause (
    partition_no  integer PRIMARY KEY,
    source_offset bigint NOT NULL,
    reason        text NOT NULL,        -- poison, rejects
    cause         text NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Written by a dying worker that knows which message it was at; killed ones write nothing.
CREATE TABLE death (
    partition_no  integer NOT NULL,
    source_offset bigint NOT NULL,
    deaths        integer NOT NULL,
    PRIMARY KEY (partition_no, source_offset)
);

-- Skips act by position: they are asked for by kind, at every flush.
CREATE INDEX fact_skip ON fact (serial) WHERE kind = 'skip';

GRANT SELECT, INSERT, UPDATE, DELETE ON pause, death TO talea_app;
