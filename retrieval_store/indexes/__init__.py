"""Finding the nearest vectors. Today: exactly, over matrices in memory or in a memory map."""
