-- Points: single events of meters that no sum can answer (latest, percentile, time-weighted), and
-- the values that distinct counts met, by window. Folded in the order of (time, key); the primary
-- key is that order, so a stretch of a series, or the last point before it, is one index scan.
-- after: SELECT has_table_privilege('talea_app', 'usage_point', 'INSERT')

CREATE TABLE usage_point (
    series_id    bigint NOT NULL,
    time_us      bigint NOT NULL,       -- of distinct values: the start of their window
    point_key    bytea NOT NULL,
    cut          bigint NOT NULL,       -- as in usage
    value        numeric NOT NULL,      -- a mantissa at the scale of the series
    multiplicity bigint NOT NULL,       -- how often it was told; at 0 in all it never was
    PRIMARY KEY (series_id, time_us, point_key, cut)
) WITH (fillfactor = 90);

GRANT SELECT, INSERT, UPDATE ON usage_point TO talea_app;
