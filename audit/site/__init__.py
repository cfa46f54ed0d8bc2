"""The site: one set of pages from the latest run of every session, verdicts first."""
