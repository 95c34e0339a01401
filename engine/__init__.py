"""SIDScope engine: trains, serves and audits semantic identifiers; knows nothing of the dashboard."""
