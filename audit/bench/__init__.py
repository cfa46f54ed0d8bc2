"""The bench as a report: what was measured, how near to the hardware it comes, and which targets are met."""
