"""From a file to upright grey pixels (uint8, bright = dense) with facts and flags."""
