"""The bytes of a journal: digests, segments, SQLite pages and log, references of values."""
