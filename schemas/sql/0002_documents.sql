-- Sealed documents: append-only for every role.
-- after: SELECT count(*) = 6 FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE tgname LIKE 'append_only%' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())

-- What was composed at a cut and waits for its number.
CREATE TABLE prepared (
    payer      text NOT NULL,
    currency   text NOT NULL,
    instant_us bigint NOT NULL,
    kind       text NOT NULL,
    ordinal    integer NOT NULL,
    issuer     text NOT NULL,
    cut_serial bigint NOT NULL,
    content    bytea NOT NULL,
    evidence   text NOT NULL,
    PRIMARY KEY (payer, currency, instant_us, kind, ordinal)
);
CREATE INDEX prepared_by_issuer ON prepared (issuer);

-- `content`, `record` and `seal` are the document; the other columns find it, and
-- `talea verify` holds them against what is sealed.
CREATE TABLE document (
    issuer     text NOT NULL,
    place      bigint NOT NULL CHECK (place > 0),   -- in the issuer's chain, gapless
    number     text NOT NULL,
    id         text NOT NULL UNIQUE,
    kind       text NOT NULL,
    payer      text NOT NULL,
    currency   text NOT NULL,
    instant_us bigint NOT NULL,
    ordinal    integer NOT NULL,
    cut_serial bigint NOT NULL,
    content    bytea NOT NULL,
    record     bytea NOT NULL,
    seal       bytea NOT NULL,
    PRIMARY KEY (issuer, place),
    UNIQUE (issuer, number),
    UNIQUE (payer, currency, instant_us, kind, ordinal)
);
CREATE INDEX document_by_payer ON document (payer, instant_us);

-- The life of a document after its seal: a state is the last of its events.
CREATE TABLE invoice_event (
    document_id text NOT NULL REFERENCES document (id),
    place       integer NOT NULL CHECK (place > 0),
    state       text NOT NULL,
    actor       text NOT NULL,
    reason      text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (document_id, place)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: issued documents never change; correct them by a note',
        TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON document
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON document
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON invoice_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON invoice_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON fact
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON fact
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
