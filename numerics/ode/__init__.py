"""Flows of a batch of rows: one problem, several methods and backends."""
