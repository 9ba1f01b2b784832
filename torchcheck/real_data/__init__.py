"""Any data and any model: U-turns, windows of features, times to train at."""
