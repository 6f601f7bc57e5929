-- Shadow prices: a candidate catalog, and what drafts and documents come to by it, beside the live ones.
-- Whoever rates them writes these two tables and reads all others; nothing that bills reads them.
-- after: SELECT count(*) = 0 FROM shadow_price

CREATE TABLE shadow_prices (
    name       text PRIMARY KEY,
    catalog    text NOT NULL,                     -- the file, as it was given
    revisions  text NOT NULL,                     -- canonical JSON: the facts it would write
    limits     text NOT NULL,                     -- canonical JSON: what it may come to
    issued     text NOT NULL,                     -- canonical JSON: last place not compared, by issuer
    began_us   bigint NOT NULL,
    position   bigint NOT NULL,                   -- of the facts, when it began
    broken     text NOT NULL DEFAULT '[]',        -- canonical JSON: the limits that it broke
    stopping   boolean NOT NULL DEFAULT false,    -- whoever follows is to stop
    promoted   text                               -- canonical JSON: when, by which facts, from when on
);

CREATE TABLE shadow_price (
    name          text NOT NULL REFERENCES shadow_prices ON DELETE CASCADE,
    document      text NOT NULL,
    payer         text NOT NULL,
    currency      text NOT NULL,
    issued        boolean NOT NULL,               -- else a draft
    source_offset bigint NOT NULL,                -- where the books of its partition stood
    live_minor    bigint NOT NULL,
    shadow_minor  bigint NOT NULL,
    PRIMARY KEY (name, document)
);
CREATE INDEX shadow_price_by_payer ON shadow_price (name, payer);

GRANT SELECT, INSERT, UPDATE, DELETE ON shadow_prices, shadow_price TO talea_app;
