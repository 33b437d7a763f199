"""The journal's shape, step by step: NNNN_what.sql, run in order, never edited once released."""
