"""Built-in icf plugin `metric`: accuracy, macro F1 and log loss."""
