"""Built-in icf plugin `sklearn`."""
