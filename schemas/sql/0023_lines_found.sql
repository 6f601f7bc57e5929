-- Documents are found by the ids of their lines, and of children of these, without reading each.
-- `encode` and not `convert_from`: bytes that a superuser spoiled are no text, and must stay findable.
-- after: SELECT lines_in('{"id":"inv_1","lines":[{"id":"line_0123456789abcdef0123456789abcdef"}]}') = ARRAY['line_0123456789abcdef0123456789abcdef']

CREATE FUNCTION lines_in(content bytea) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT array_agg(left(part, 37))
    FROM unnest(string_to_array(encode(content, 'escape'), '"id":"')) AS part
    WHERE starts_with(part, 'line_')
$$;

CREATE INDEX document_by_line ON document USING gin (lines_in(content));
