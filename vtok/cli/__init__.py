"""The command line: finds a verb, reads its arguments, and runs it; the verbs are in `verbs/`."""
