"""What tokenisers cost: tokens, FLOPs, seconds, memory."""
