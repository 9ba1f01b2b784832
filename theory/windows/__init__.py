"""When something is decided: windows by dominant balance, and dilations of time."""
