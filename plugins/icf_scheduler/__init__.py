"""Built-in icf plugin `scheduler`."""
