-- The chats that are told of a run beside the one that it was asked for in: those that its rule named when it was made, as long
-- as it names them and their surface tells them. A card may be decided in each.
CREATE TABLE followers (
  run_id  INTEGER NOT NULL REFERENCES runs (id),
  surface TEXT NOT NULL,
  chat    TEXT NOT NULL,
  PRIMARY KEY (run_id, surface, chat)
) STRICT, WITHOUT ROWID;
CREATE INDEX followers_by_chat ON followers (surface, chat, run_id);

-- How far a surface has read its platform's stream, in that platform's words.
CREATE TABLE cursors (surface TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
