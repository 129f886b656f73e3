"""Where clips are: the options of the config group data."""
