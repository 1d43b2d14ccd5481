"""Built-in icf plugin `optimizer`: SGD, Adam and AdamW of torch."""
