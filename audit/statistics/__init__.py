"""Pure functions on arrays: estimates, intervals, tests, the decision rule. Imports nothing of ours."""
