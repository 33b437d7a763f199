"""The journal: the append-only history of a station. See README.md here."""
