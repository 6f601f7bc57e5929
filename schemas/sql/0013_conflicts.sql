-- Where each remembered batch of a sequence stands: a conflict then names both positions. Of
-- those booked before this page nobody knows (-1).
-- after: SELECT count(*) = 0 FROM sequence_state WHERE length(recent) % 36 <> 0

-- Each entry: first (8), count (4), digest (16), and now the offset (8).
UPDATE sequence_state SET recent = (
    SELECT string_agg(substr(recent, 28 * n + 1, 28) || '\xffffffffffffffff'::bytea, ''::bytea
        ORDER BY n)
    FROM generate_series(0, length(recent) / 28 - 1) AS n
) WHERE length(recent) > 0;
