"""Built-in icf plugin `timm`."""
