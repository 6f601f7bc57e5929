-- What corrects issued documents: cuts that a decision caused, usage of closed periods, notes.
-- after: SELECT has_table_privilege('talea_app', 'late_usage', 'INSERT') AND NOT EXISTS (SELECT FROM cut WHERE fact <> 0)

-- The serial of the decision that caused a cut; 0: a period ended.
ALTER TABLE cut ADD COLUMN fact bigint NOT NULL DEFAULT 0;
CREATE INDEX cut_decided ON cut (fact) WHERE fact <> 0;

-- Usage of periods that were cut, by the cut it stands under: the start of its first window, and
-- the log time as the first of it was met.
CREATE TABLE late_usage (
    payer     text NOT NULL,
    cut       bigint NOT NULL,
    window_us bigint NOT NULL,
    met_us    bigint NOT NULL,
    PRIMARY KEY (payer, cut)
);
GRANT SELECT, INSERT, UPDATE ON late_usage TO talea_app;

-- Notes may have numbers of their own: the last one is looked up.
CREATE INDEX document_notes ON document (issuer, place) WHERE kind <> 'invoice';
