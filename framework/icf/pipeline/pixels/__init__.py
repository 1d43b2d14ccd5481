"""From image files to pixels: decoding, resizing, and the cache in which both are done once."""
