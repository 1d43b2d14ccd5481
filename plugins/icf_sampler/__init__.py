"""Built-in icf plugin `sampler`: which training rows an epoch sees, and in which order."""
