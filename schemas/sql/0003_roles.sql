-- The application role: what workers and commands run as. It cannot change what is issued.
-- after: SELECT NOT has_table_privilege('talea_app', 'document', 'UPDATE')

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'talea_app') THEN
        CREATE ROLE talea_app NOLOGIN;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO talea_app', current_schema());
END $$;

GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO talea_app;
GRANT INSERT ON fact, document, invoice_event TO talea_app;
GRANT INSERT, UPDATE, DELETE ON personal, prepared, dirty, draft TO talea_app;
GRANT INSERT, UPDATE ON tick, cursor, sequence_state, cut, usage TO talea_app;
GRANT UPDATE ON fact_head TO talea_app;
GRANT INSERT ON partition_tick, series TO talea_app;
