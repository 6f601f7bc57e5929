-- Drafts on equal terms share one text; of each only names and figures are kept.
-- after: SELECT count(*) = 1 FROM pg_views WHERE schemaname = current_schema() AND viewname = 'told_draft'

-- A text with gaps, as format() takes it; `digest` is its SHA-256, so it never changes.
CREATE TABLE hollow_text (
    digest   text PRIMARY KEY,
    template text NOT NULL
);

-- Where it is set, `content` is what the gaps take, a line each; else the whole content.
ALTER TABLE draft ADD COLUMN hollow text;

-- Drafts as they read. Whoever only looks looks here.
CREATE VIEW told_draft AS
    SELECT d.id, d.payer, d.currency, d.instant_us, d.partition_no, d.source_offset, d.log_time_us,
        CASE WHEN d.hollow IS NULL THEN d.content
            ELSE format(h.template, VARIADIC string_to_array(d.content, E'\n')) END AS content,
        d.issues, d.rated_at
    FROM draft AS d LEFT JOIN hollow_text AS h ON h.digest = d.hollow;

GRANT SELECT, INSERT ON hollow_text TO talea_app;
GRANT SELECT ON told_draft TO talea_app;
