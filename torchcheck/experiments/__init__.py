"""The experiments: data, the networks trained on them, and what is compared."""
