"""From evidence to findings: tidy tables in, findings with intervals and verdicts out."""
