"""Built-in icf plugin `optimizer`."""
