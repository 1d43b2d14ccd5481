"""Built-in icf plugin `metric`."""
