-- What was said of a document as it was prepared, though it was issued: its warnings.
-- after: SELECT count(*) = 0 FROM validation_issue

CREATE TABLE validation_issue (
    document_id text NOT NULL,
    id          text NOT NULL,
    body        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (document_id, id)
);

GRANT SELECT, INSERT ON validation_issue TO talea_app;
