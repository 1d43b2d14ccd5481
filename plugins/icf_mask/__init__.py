"""Built-in icf plugin `mask`."""
