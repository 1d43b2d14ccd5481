"""Built-in icf plugin `metric`: scores of predicted classes, of rankings, of probabilities and of ordered classes."""
