-- Of a replay over other partitions or batches: its log is a copy of the one that it shadows, its own.
-- after: SELECT count(*) = 0 FROM shadow WHERE copy IS NOT NULL

ALTER TABLE shadow ADD COLUMN copy text;          -- canonical JSON: of what, and whether it is whole
