-- The position of the last fact that names a prepared document: it stands in its issue record.
-- after: SELECT count(*) = 1 FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = 'prepared' AND column_name = 'named_at'

ALTER TABLE prepared ADD COLUMN named_at bigint NOT NULL DEFAULT 0;
