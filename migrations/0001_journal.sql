-- Observations and decisions of the station, in order. Append-only: triggers refuse anything else.

CREATE TABLE meta (
    format     INTEGER NOT NULL,  -- of the digest rule
    journal_id TEXT    NOT NULL   -- UUID, chosen at the first start
) STRICT;

CREATE TABLE entry (
    seq       INTEGER PRIMARY KEY,  -- from 1, without gaps
    at        TEXT    NOT NULL,     -- UTC, 2026-11-22T17:25:08.123Z
    uptime_ms INTEGER NOT NULL,     -- since the host booted
    kind      TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    cause     INTEGER,              -- seq of the observation a decision was made for
    body      TEXT    NOT NULL,     -- JSON
    digest    BLOB    NOT NULL      -- SHA-256 over the previous digest and this row
) STRICT;

-- The last archived entry, in one row or none: the chain of the table continues after it.
CREATE TABLE anchor (
    seq    INTEGER PRIMARY KEY,
    digest BLOB    NOT NULL,
    origin BLOB    NOT NULL  -- the digest before entry 1, which names the journal
) STRICT;

-- Personal values, apart from the entries, so that a person can be erased.
CREATE TABLE id_token (
    ref    TEXT NOT NULL UNIQUE,  -- what the entries hold instead
    type   TEXT NOT NULL,
    value  TEXT NOT NULL,         -- as it was first shown
    folded TEXT NOT NULL,         -- the value without case where case does not count
    salt   BLOB NOT NULL,
    UNIQUE (type, folded)
) STRICT;

CREATE TRIGGER entry_gapless BEFORE INSERT ON entry
WHEN new.seq IS NOT 1 + coalesce((SELECT max(seq) FROM entry), (SELECT max(seq) FROM anchor), 0)
BEGIN SELECT raise(ABORT, 'entries are numbered without gaps'); END;

CREATE TRIGGER entry_not_updated BEFORE UPDATE ON entry
BEGIN SELECT raise(ABORT, 'entries are never changed'); END;

CREATE TRIGGER entry_not_deleted BEFORE DELETE ON entry
BEGIN SELECT raise(ABORT, 'entries are never removed'); END;

CREATE TRIGGER meta_once BEFORE INSERT ON meta
WHEN (SELECT count(*) FROM meta) > 0
BEGIN SELECT raise(ABORT, 'a journal is named once'); END;

CREATE TRIGGER meta_not_updated BEFORE UPDATE ON meta
BEGIN SELECT raise(ABORT, 'a journal is named once'); END;

CREATE TRIGGER meta_not_deleted BEFORE DELETE ON meta
BEGIN SELECT raise(ABORT, 'a journal is named once'); END;

CREATE TRIGGER anchor_forward BEFORE INSERT ON anchor
WHEN new.seq <= coalesce((SELECT max(seq) FROM anchor), 0)
BEGIN SELECT raise(ABORT, 'the anchor only moves on'); END;

CREATE TRIGGER anchor_not_updated BEFORE UPDATE ON anchor
BEGIN SELECT raise(ABORT, 'the anchor is never changed'); END;

CREATE TRIGGER anchor_not_deleted BEFORE DELETE ON anchor
BEGIN SELECT raise(ABORT, 'the anchor is never removed'); END;

CREATE TRIGGER id_token_not_updated BEFORE UPDATE ON id_token
BEGIN SELECT raise(ABORT, 'an id token is written or erased, never changed'); END;
