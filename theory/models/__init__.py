"""What is studied: targets, schedules, networks and data, as records and as TOML."""
