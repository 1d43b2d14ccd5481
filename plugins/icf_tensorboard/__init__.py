"""Built-in icf plugin `tensorboard`."""
