-- What an agent asks while a step of its runs. `key` is the daemon's own id of it, and `shown` the digest of all that a
-- person is shown: the same asked again after a restart is the same row, and `times` counts that; anything else is another.
-- `id` is what people name. `heard_at` is when the agent was told. What it quotes in `asked` is let go of when its step has
-- ended.
CREATE TABLE asks (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id      INTEGER NOT NULL,
  idx         INTEGER NOT NULL,
  key         TEXT NOT NULL,
  shown       TEXT NOT NULL,
  asked       TEXT NOT NULL,
  approvers   TEXT NOT NULL,
  state       TEXT NOT NULL,
  times       INTEGER NOT NULL DEFAULT 1,
  answer      TEXT,
  answered_by TEXT,
  created_at  INTEGER NOT NULL,
  closed_at   INTEGER,
  heard_at    INTEGER,
  UNIQUE (run_id, idx, key, shown),
  FOREIGN KEY (run_id, idx) REFERENCES steps (run_id, idx)
) STRICT;
CREATE INDEX asks_open ON asks (id) WHERE state = 'open';

-- "Allow for this session", said to an ask: a standing yes to exactly what was shown, in the session
-- that asked, and at the target that its step had.
CREATE TABLE grants (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id     INTEGER NOT NULL,
  idx        INTEGER NOT NULL,
  connector  TEXT NOT NULL,
  place      TEXT NOT NULL,
  session_id TEXT NOT NULL,
  permission TEXT NOT NULL,
  parts      TEXT NOT NULL,
  granted_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  revoked_by TEXT,
  FOREIGN KEY (run_id, idx) REFERENCES steps (run_id, idx)
) STRICT;
CREATE INDEX grants_of_step ON grants (run_id, idx);
CREATE INDEX grants_open ON grants (session_id) WHERE revoked_at IS NULL;
