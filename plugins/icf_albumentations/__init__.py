"""Built-in icf plugin `albumentations`."""
