-- Since when each open gap of a producer's sequence is known: audit and drafts say so.
-- after: SELECT count(*) = 0 FROM sequence_state WHERE cardinality(gaps) <> 2 * cardinality(gaps_since)

ALTER TABLE sequence_state ADD COLUMN gaps_since bigint[] NOT NULL DEFAULT '{}';
UPDATE sequence_state SET gaps_since = array_fill(0::bigint, ARRAY[cardinality(gaps) / 2])
    WHERE cardinality(gaps) > 0;
CREATE INDEX sequence_incomplete ON sequence_state (partition_no) WHERE cardinality(gaps) > 0;
