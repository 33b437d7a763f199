"""Projections: one question each, with the decisions that answer it."""
