-- Changed drafts are noted by the statement that changes them, not one by one.
-- after: SELECT count(*) = 3 FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE tgname LIKE 'noted\_%' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())

DROP TRIGGER noted_change ON draft;
DROP FUNCTION note_draft_change();

CREATE FUNCTION note_drafts_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {schema}.draft_change (id, payer) SELECT id, payer FROM changed;
    RETURN NULL;
END $$;

CREATE TRIGGER noted_new AFTER INSERT ON draft REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_drafts_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON draft REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_drafts_changed();
CREATE TRIGGER noted_gone AFTER DELETE ON draft REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_drafts_changed();
