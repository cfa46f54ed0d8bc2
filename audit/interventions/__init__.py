"""Experiments on the loop: what a rule against leaks, or a module, does to what a search finds."""
