-- What was billed in advance and may still be given back: fees ahead of until_us, as JSON.
-- after: SELECT count(*) = 1 FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = 'carried' AND column_name = 'ahead'

ALTER TABLE carried ADD COLUMN ahead text;
