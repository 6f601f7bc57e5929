-- How far each price of a payer is billed, kept with what is prepared: a draft need not read
-- every document that was ever issued to its payer.
-- after: SELECT NOT EXISTS (SELECT FROM document) OR EXISTS (SELECT FROM carried)

CREATE TABLE carried (
    payer        text NOT NULL,
    currency     text NOT NULL,
    subscription text NOT NULL,
    price        text NOT NULL,
    until_us     bigint NOT NULL,
    PRIMARY KEY (payer, currency, subscription, price)
);

INSERT INTO carried
SELECT payer, currency, line ->> 'subscription',
       substr(line ->> 'source_id', length(line ->> 'subscription') + 2),
       max((extract(epoch FROM (line ->> 'period_end')::timestamptz) * 1000000)::bigint)
FROM (
    SELECT payer, currency, content FROM document
    UNION ALL
    SELECT payer, currency, content FROM prepared
) AS documents,
    jsonb_array_elements(convert_from(content, 'UTF8')::jsonb -> 'lines') AS line
GROUP BY 1, 2, 3, 4;

GRANT SELECT, INSERT, UPDATE ON carried TO talea_app;
