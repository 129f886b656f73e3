"""The verbs except train, one module each."""
