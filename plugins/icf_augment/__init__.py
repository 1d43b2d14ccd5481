"""Built-in icf plugin `augment`."""
