"""Built-in icf plugin `ensemble`: soft and hard votes."""
