-- Of a replay: one row in the schema of each shadow, none elsewhere. A shadow has the facts and ticks of
-- whom it shadows, and writes none of its own.
-- after: SELECT count(*) = 0 FROM shadow

CREATE TABLE shadow (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    asked     text NOT NULL,                      -- canonical JSON: what is replayed, and how
    revised   integer NOT NULL,                   -- how many of its facts say something else
    issued    text NOT NULL,                      -- canonical JSON: last place to compare, by issuer
    began     timestamptz NOT NULL DEFAULT clock_timestamp(),
    worked_ms bigint NOT NULL DEFAULT 0,          -- how long runs of it took so far
    stopping  boolean NOT NULL DEFAULT false,     -- whoever runs it is to stop
    outcome   text                                -- canonical JSON; none until it is through
);

GRANT SELECT, UPDATE ON shadow TO talea_app;
