"""The face of the package: the command line, the report, the explorer."""
