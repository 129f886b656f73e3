"""The command line: finding a verb, reading its arguments, and the verbs in `verbs/`."""
