"""The models: targets, schedules, networks and data, as records and as TOML."""
