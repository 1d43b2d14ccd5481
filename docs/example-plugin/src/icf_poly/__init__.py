"""PolyLoss for icf."""
