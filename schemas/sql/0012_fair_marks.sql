-- Marks keep the place in the queue that they were first made at, however often they are renewed.
-- What renews `version` overtakes a rating that does not see what the mark is of.
-- after: SELECT count(*) = count(since) FROM dirty

ALTER TABLE dirty ADD COLUMN since bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX dirty_by_since ON dirty (since);
DROP INDEX dirty_by_partition;
