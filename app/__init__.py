"""Sidelight dashboard: a Streamlit adapter over the snapshots the engine publishes."""
