-- What is wrong with a draft, beside its content: with a critical issue it is not issued.
-- after: SELECT NOT EXISTS (SELECT FROM draft WHERE issues <> '[]')

ALTER TABLE draft ADD COLUMN issues text NOT NULL DEFAULT '[]';   -- canonical JSON
CREATE INDEX draft_faulty ON draft (payer) WHERE issues <> '[]';
