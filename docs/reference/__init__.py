"""Writes the parts of the documentation that follow from the code, each between two markers of a page."""
