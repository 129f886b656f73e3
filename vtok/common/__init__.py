"""Code that all packages share: errors, files, paths, random numbers, processes, statistics."""
