-- What stays of documents that are older than they must be kept: all but their content. Only for
-- places that a fact names and a checkpoint holds, and nothing else of a row may change with it.
-- after: SELECT count(*) = 2 FROM pg_trigger WHERE tgrelid = 'document'::regclass AND tgname LIKE 'append_only%'

ALTER TABLE document ADD COLUMN kept text;   -- canonical JSON; null while the content is there

CREATE FUNCTION refuse_change_but_retention() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.content = '' AND OLD.kept IS NULL AND NEW.kept IS NOT NULL
        AND (to_jsonb(NEW) - 'content' - 'kept') = (to_jsonb(OLD) - 'content' - 'kept')
        AND EXISTS (SELECT FROM fact WHERE kind = 'retention' AND subject = OLD.issuer
            AND (body::json ->> 'place')::bigint >= OLD.place)
        AND EXISTS (SELECT FROM checkpoint WHERE issuer = OLD.issuer AND place >= OLD.place)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% of % refused: issued documents never change; correct them by a note',
        TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

DROP TRIGGER append_only_rows ON document;
CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON document
    FOR EACH ROW EXECUTE FUNCTION refuse_change_but_retention();
CREATE INDEX fact_of_retention ON fact (subject) WHERE kind = 'retention';
