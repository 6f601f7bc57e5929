-- The collector pauses a partition of raw usage as metering does one of the usage log.
-- after: SELECT count(*) = 0 FROM pause WHERE origin NOT IN ('usage', 'raw')

ALTER TABLE pause ADD COLUMN origin text NOT NULL DEFAULT 'usage';   -- usage, raw
ALTER TABLE pause DROP CONSTRAINT pause_pkey;
ALTER TABLE pause ADD PRIMARY KEY (origin, partition_no);
