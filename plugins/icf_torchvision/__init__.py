"""Built-in icf plugin `torchvision`."""
