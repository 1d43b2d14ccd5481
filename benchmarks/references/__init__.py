"""What a person would write without icf; nothing here imports it."""
