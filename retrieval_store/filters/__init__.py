"""Filters: one expression language, and the dialects that are parsed into it."""
