"""The cost of tokenisers: tokens, FLOPs, seconds and memory."""
