"""Search spaces, optimizers, plateaus and holdouts: which parameters to try, and whether the best is a lucky cell."""
