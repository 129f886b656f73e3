"""Data sets: the options of the config group `data`."""
