"""Consistency checks: what can be found wrong in published tables without any statistics."""
