"""Built-in icf plugin `sampler`."""
