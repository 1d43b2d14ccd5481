"""One fold: its batches, its network, the loop over epochs, its checkpoints, and what is measured before it."""
