-- What the publisher owes the topics: which drafts changed, what stands there already.
-- after: SELECT count(*) = 1 FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE tgname = 'noted_change' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())

-- A cut has a document an issuer, and each of them a draft: `id` is the document's.
ALTER TABLE draft ADD COLUMN id text;
UPDATE draft SET id = content::json ->> 'id';
ALTER TABLE draft DROP CONSTRAINT draft_pkey;
ALTER TABLE draft ADD PRIMARY KEY (id);
CREATE INDEX draft_by_payer ON draft (payer, currency, instant_us);

-- Marks, never messages: that a draft was written or deleted, by whoever did it. Only ever
-- inserted by writers and deleted by the publisher, so that neither waits for the other.
CREATE TABLE draft_change (
    serial bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    id     text NOT NULL,
    payer  text NOT NULL
);

CREATE FUNCTION note_draft_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {schema}.draft_change (id, payer)
        VALUES (coalesce(NEW.id, OLD.id), coalesce(NEW.payer, OLD.payer));
    RETURN NULL;
END $$;

CREATE TRIGGER noted_change AFTER INSERT OR UPDATE OR DELETE ON draft
    FOR EACH ROW EXECUTE FUNCTION note_draft_change();

INSERT INTO draft_change (id, payer) SELECT id, payer FROM draft;

-- Every key of a draft that may stand on the topics: written before it is sent.
CREATE TABLE published_draft (
    id       text PRIMARY KEY,
    payer    text NOT NULL,
    line_ids text[] NOT NULL
);

-- Up to which place of its chain an issuer's documents stand on the topic.
CREATE TABLE published_chain (
    issuer text PRIMARY KEY,
    place  bigint NOT NULL
);

-- One row: the database and the topics that the tables above speak of.
CREATE TABLE publication (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    identity text NOT NULL
);

GRANT SELECT, INSERT, DELETE ON draft_change TO talea_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON published_draft, published_chain, publication
    TO talea_app;
