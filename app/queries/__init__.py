"""Every SELECT of the dashboard: (cursor, args) -> DataFrame."""
