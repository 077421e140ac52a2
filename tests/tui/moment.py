"""The moment at which all recorded workbenches stand."""

NOW = 1_790_000_000.0
