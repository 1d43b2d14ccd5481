"""Components for icf."""
