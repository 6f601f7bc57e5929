-- What each issued document took of prepaid credits: rows out of issue records, never changed. What
-- is left of a credit is its grant less their sum.
-- after: SELECT count(*) = 0 FROM credit_use

CREATE TABLE credit_use (
    document_id  text NOT NULL REFERENCES document (id),
    credit       text NOT NULL,
    payer        text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    PRIMARY KEY (document_id, credit)
);
CREATE INDEX credit_use_by_payer ON credit_use (payer);

CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON credit_use
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON credit_use
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON credit_use TO talea_app;
