-- Until when a step waits that does nothing else (`Delay`).
ALTER TABLE steps ADD COLUMN wake_at INTEGER;
CREATE INDEX steps_waking ON steps (wake_at) WHERE wake_at IS NOT NULL AND state = 'dispatched';

-- What a `Dedupe` saw, as the SHA-256 of its bucket and its key, and until when it counts as seen.
CREATE TABLE seen (key TEXT PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX seen_until ON seen (until);
