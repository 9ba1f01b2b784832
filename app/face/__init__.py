"""What a person meets: the command line, the report, the explorer."""
