"""Built-in icf plugin `optimizer`: SGD, Adam and its kin, Lion, Muon, and SAM around any of them."""
