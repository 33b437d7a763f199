"""The tables of the journal as SQL scripts, run in order. See README.md here."""
