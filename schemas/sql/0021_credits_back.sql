-- A document that is void gives back what credits paid of it: a use below zero.
-- after: SELECT count(*) = 1 FROM pg_constraint WHERE conrelid = 'credit_use'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%<> 0%'

ALTER TABLE credit_use DROP CONSTRAINT credit_use_amount_minor_check;
ALTER TABLE credit_use ADD CHECK (amount_minor <> 0);
