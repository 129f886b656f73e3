"""The verbs beside train, one module each."""
