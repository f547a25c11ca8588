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

-- `due` is 1 while an active run has no live step: the engine is to go on with it.
CREATE TABLE runs (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id     INTEGER NOT NULL REFERENCES events (id),
  rule         TEXT NOT NULL,
  rule_version TEXT NOT NULL REFERENCES rule_versions (version),
  surface      TEXT NOT NULL,
  chat         TEXT NOT NULL,
  requester    TEXT NOT NULL,
  state        TEXT NOT NULL,
  due          INTEGER NOT NULL DEFAULT 1,
  reason       TEXT,
  cancel_by    TEXT,
  created_at   INTEGER NOT NULL,
  ended_at     INTEGER,
  UNIQUE (event_id, rule)
) STRICT;
CREATE INDEX runs_due ON runs (id) WHERE due = 1;
CREATE INDEX runs_active ON runs (id) WHERE state = 'active';
CREATE INDEX runs_by_chat ON runs (surface, chat, id);
CREATE INDEX runs_by_rule ON runs (rule, id);
CREATE INDEX runs_by_version ON runs (rule_version);
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;

-- `asked` counts how often somebody was to be asked about the step; `rule_now` is the version of
-- its rule that was in force at the last time, NULL for none; `passed_by` says what let it pass
-- without being asked about. Steps of one `lane` run one after another.
CREATE TABLE steps (
  run_id           INTEGER NOT NULL REFERENCES runs (id),
  idx              INTEGER NOT NULL,
  name             TEXT,
  surface          TEXT NOT NULL,
  chat             TEXT NOT NULL,
  connector        TEXT NOT NULL,
  action           TEXT NOT NULL,
  read_only        INTEGER NOT NULL,
  input            TEXT NOT NULL,
  target           TEXT NOT NULL,
  lane             TEXT NOT NULL,
  asked            INTEGER NOT NULL,
  rule_now         TEXT,
  digest           TEXT NOT NULL,
  state            TEXT NOT NULL,
  reason           TEXT,
  approvals_needed INTEGER NOT NULL,
  approvers        TEXT NOT NULL,
  other_approver   INTEGER NOT NULL,
  token            TEXT NOT NULL UNIQUE,
  expiry_ms        INTEGER NOT NULL,
  allowance_ms     INTEGER NOT NULL,
  created_at       INTEGER NOT NULL,
  delivered_at     INTEGER,
  expires_at       INTEGER,
  decided_at       INTEGER,
  decided_by       TEXT,
  passed_by        TEXT,
  allowance        INTEGER REFERENCES allowances (id),
  dispatched_at    INTEGER,
  checkpoint       TEXT,
  output           TEXT,
  consequence      TEXT,
  session_id       TEXT,
  ended_at         INTEGER,
  cancel_by        TEXT,
  PRIMARY KEY (run_id, idx)
) STRICT;
CREATE INDEX steps_waiting ON steps (surface, chat) WHERE state = 'waiting';
CREATE INDEX steps_waiting_same ON steps (digest) WHERE state = 'waiting';
CREATE INDEX steps_expiring ON steps (expires_at) WHERE state = 'waiting';
CREATE INDEX steps_approved ON steps (lane, decided_at, run_id, idx) WHERE state = 'approved';
CREATE INDEX steps_dispatched ON steps (lane) WHERE state = 'dispatched';
CREATE INDEX steps_by_allowance ON steps (allowance) WHERE allowance IS NOT NULL;
CREATE INDEX steps_with_session ON steps (surface, chat, ended_at) WHERE session_id IS NOT NULL;

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

-- "Allow for this session": a standing yes to later steps of the session that the step ran in.
CREATE TABLE allowances (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id       INTEGER NOT NULL,
  idx          INTEGER NOT NULL,
  connector    TEXT NOT NULL,
  target       TEXT NOT NULL,
  rule         TEXT NOT NULL,
  rule_version TEXT NOT NULL,
  requester    TEXT NOT NULL,
  surface      TEXT NOT NULL,
  chat         TEXT NOT NULL,
  allowed_by   TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL,
  revoked_at   INTEGER,
  revoked_by   TEXT,
  FOREIGN KEY (run_id, idx) REFERENCES steps (run_id, idx)
) STRICT;
CREATE INDEX allowances_of_step ON allowances (run_id, idx);
CREATE INDEX allowances_open ON allowances (rule_version, requester, chat) WHERE revoked_at IS NULL;

-- What a chat is still to be told. Rows are delivered in order within a chat; `since` is when the
-- row became due, for the first time or again.
CREATE TABLE outbox (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  surface      TEXT NOT NULL,
  chat         TEXT NOT NULL,
  kind         TEXT NOT NULL,
  run_id       INTEGER,
  idx          INTEGER,
  body         TEXT,
  created_at   INTEGER NOT NULL,
  since        INTEGER NOT NULL,
  attempts     INTEGER NOT NULL DEFAULT 0,
  next_at      INTEGER NOT NULL DEFAULT 0,
  delivered_at INTEGER,
  surface_ref  TEXT
) STRICT;
CREATE INDEX outbox_pending ON outbox (surface, chat, id) WHERE delivered_at IS NULL;
CREATE INDEX outbox_by_step ON outbox (run_id, idx) WHERE run_id IS NOT NULL;

-- The messages that a surface sent, each from the moment it was. `parcel` is its row of the outbox,
-- if it has one, and `part` what of that it is; one that the platform did not take has no
-- `surface_ref` but the empty one.
CREATE TABLE messages (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  surface     TEXT NOT NULL,
  chat        TEXT NOT NULL,
  surface_ref TEXT NOT NULL,
  run_id      INTEGER,
  idx         INTEGER,
  parcel      INTEGER,
  part        TEXT NOT NULL
) STRICT;
CREATE INDEX messages_by_ref ON messages (surface, chat, surface_ref);
CREATE INDEX messages_of_parcel ON messages (parcel, part) WHERE parcel IS NOT NULL;
CREATE INDEX messages_of_step ON messages (run_id, idx) WHERE run_id IS NOT NULL;

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
CREATE INDEX audit_of_run ON audit (run_id, seq) WHERE run_id IS NOT NULL;

-- Where the kept part of the audit begins: the last row that was pruned, and its hash.
CREATE TABLE audit_anchor (
  one  INTEGER PRIMARY KEY CHECK (one = 1),
  seq  INTEGER NOT NULL,
  hash TEXT NOT NULL
) STRICT;
INSERT INTO audit_anchor VALUES (1, 0, 'connector-host audit v1');

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_is_never_cut BEFORE DELETE ON audit
  WHEN OLD.seq > (SELECT seq FROM audit_anchor)
  BEGIN SELECT RAISE(ABORT, 'the audit is pruned from its beginning only'); END;

-- Up to when the schedule of a rule, as it is written, was dealt with.
CREATE TABLE schedules (rule TEXT PRIMARY KEY, schedule TEXT NOT NULL, seen_at INTEGER NOT NULL) STRICT;

-- The latest time this ledger has seen, so that a clock set back cannot revive a card.
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), latest INTEGER NOT NULL) STRICT;
INSERT INTO clock VALUES (1, 0);
