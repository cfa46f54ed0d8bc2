"""What happened in a search: its tree, its trend, what was thrown away, and how little one seed each shows."""
