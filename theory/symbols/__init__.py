"""The vocabulary: names, Gaussian averages, `System`, and how they are typeset."""
