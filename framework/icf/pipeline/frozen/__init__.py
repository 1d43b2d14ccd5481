"""Frozen layers cost once: what they put out is computed once per image and read by every fold and epoch."""
