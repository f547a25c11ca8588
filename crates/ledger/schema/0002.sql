-- Persons: whose accounts there were when a step was last asked about, as JSON from names to accounts,
-- and whom a vote counts for. Before there were persons, each account was one of its own.
ALTER TABLE steps ADD COLUMN people TEXT NOT NULL DEFAULT '{}';
ALTER TABLE approvals ADD COLUMN person TEXT NOT NULL DEFAULT '';
UPDATE approvals SET person = approver;
