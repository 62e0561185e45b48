"""From image-report pairs of any layout to batches: read, check, split, decode once, draw, augment."""
