"""What tokenisers cost: tokens, operations, seconds, memory."""
