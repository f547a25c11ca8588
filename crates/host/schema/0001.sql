-- What happened, as the surface reported it. A redelivered update is the same row.
CREATE TABLE events (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  surface     TEXT NOT NULL,
  platform_id TEXT NOT NULL,
  connector   TEXT NOT NULL,
  event       TEXT NOT NULL,
  chat        TEXT NOT NULL,
  requester   TEXT NOT NULL,
  payload     TEXT NOT NULL,
  reply       TEXT,
  received_at INTEGER NOT NULL,
  handled_at  INTEGER,
  UNIQUE (surface, platform_id)
) STRICT;
CREATE INDEX events_unhandled ON events (id) WHERE handled_at IS NULL;

-- Every rule that ever made a run, as it was then.
CREATE TABLE rule_versions (
  version    TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  definition TEXT NOT NULL
) STRICT;

CREATE TABLE runs (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id     INTEGER NOT NULL REFERENCES events (id),
  rule         TEXT NOT NULL,
  rule_version TEXT NOT NULL REFERENCES rule_versions (version),
  surface      TEXT NOT NULL,
  chat         TEXT NOT NULL,
  requester    TEXT NOT NULL,
  state        TEXT NOT NULL,
  reason       TEXT,
  created_at   INTEGER NOT NULL,
  ended_at     INTEGER,
  UNIQUE (event_id, rule)
) STRICT;
CREATE INDEX runs_active ON runs (id) WHERE state = 'active';
CREATE INDEX runs_by_chat ON runs (surface, chat, id);

CREATE TABLE steps (
  run_id           INTEGER NOT NULL REFERENCES runs (id),
  idx              INTEGER NOT NULL,
  name             TEXT,
  connector        TEXT NOT NULL,
  action           TEXT NOT NULL,
  input            TEXT NOT NULL,
  target           TEXT NOT NULL,
  digest           TEXT NOT NULL,
  state            TEXT NOT NULL,
  reason           TEXT,
  approvals_needed INTEGER NOT NULL,
  approvers        TEXT NOT NULL,
  other_approver   INTEGER NOT NULL,
  token            TEXT NOT NULL UNIQUE,
  expiry_ms        INTEGER NOT NULL,
  created_at       INTEGER NOT NULL,
  delivered_at     INTEGER,
  expires_at       INTEGER,
  decided_at       INTEGER,
  decided_by       TEXT,
  dispatched_at    INTEGER,
  checkpoint       TEXT,
  output           TEXT,
  consequence      TEXT,
  session_id       TEXT,
  ended_at         INTEGER,
  cancel_by        TEXT,
  PRIMARY KEY (run_id, idx)
) STRICT;
CREATE INDEX steps_live ON steps (state) WHERE state IN ('resolved', 'waiting', 'approved', 'dispatched');
CREATE INDEX steps_expiring ON steps (expires_at) WHERE state = 'waiting';

-- One vote of one person on one digest.
CREATE TABLE approvals (
  run_id   INTEGER NOT NULL,
  idx      INTEGER NOT NULL,
  digest   TEXT NOT NULL,
  approver TEXT NOT NULL,
  decision TEXT NOT NULL,
  at       INTEGER NOT NULL,
  UNIQUE (run_id, idx, digest, approver),
  FOREIGN KEY (run_id, idx) REFERENCES steps (run_id, idx)
) STRICT;

-- What a chat is still to be told. Rows are delivered in order within a chat.
CREATE TABLE outbox (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  surface      TEXT NOT NULL,
  chat         TEXT NOT NULL,
  kind         TEXT NOT NULL,
  run_id       INTEGER,
  idx          INTEGER,
  body         TEXT,
  created_at   INTEGER NOT NULL,
  attempts     INTEGER NOT NULL DEFAULT 0,
  next_at      INTEGER NOT NULL DEFAULT 0,
  delivered_at INTEGER,
  surface_ref  TEXT
) STRICT;
CREATE INDEX outbox_pending ON outbox (id) WHERE delivered_at IS NULL;
CREATE INDEX outbox_by_ref ON outbox (surface, chat, surface_ref) WHERE surface_ref IS NOT NULL;

-- Append-only; each row's hash covers the row before it.
CREATE TABLE audit (
  seq    INTEGER PRIMARY KEY,
  at     INTEGER NOT NULL,
  kind   TEXT NOT NULL,
  run_id INTEGER,
  idx    INTEGER,
  actor  TEXT NOT NULL,
  digest TEXT,
  detail TEXT NOT NULL,
  hash   TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;

-- The latest time this ledger has seen, so that a clock set back cannot revive a card.
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), latest INTEGER NOT NULL) STRICT;
INSERT INTO clock VALUES (1, 0);
