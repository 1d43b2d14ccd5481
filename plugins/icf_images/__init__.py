"""Built-in icf plugin `images`."""
