"""Times of whole training steps beside those of the operators, each checked before it counts.

`settings.py` reads conf/, `jobs.py` runs child processes, `child.py` is what they do, `steps.py` one program in one
form, `table.py` puts rows together, `command.py` is `python -m replication bench`.
"""
