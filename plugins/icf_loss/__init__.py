"""Built-in icf plugin `loss`."""
