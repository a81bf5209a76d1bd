"""TODO DOC."""
