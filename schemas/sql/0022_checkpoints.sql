-- Signed heads of issuers' chains: one a day, and where a proof needs one. Append-only as documents are.
-- after: SELECT count(*) = 2 FROM pg_trigger WHERE tgrelid = 'checkpoint'::regclass AND tgname LIKE 'append_only%'

CREATE TABLE checkpoint (
    issuer    text NOT NULL,
    place     bigint NOT NULL CHECK (place > 0),
    seal      bytea NOT NULL,
    at_us     bigint NOT NULL,
    key       bytea NOT NULL,
    signature bytea NOT NULL,
    PRIMARY KEY (issuer, place)
);

CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON checkpoint
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON checkpoint TO talea_app;
