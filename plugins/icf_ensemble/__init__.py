"""Built-in icf plugin `ensemble`."""
