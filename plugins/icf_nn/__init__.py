"""Built-in icf plugin `nn`."""
