"""The layers that confine a process, one a module; replication/containment.py puts them together."""
