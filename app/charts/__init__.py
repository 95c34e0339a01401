"""DataFrame -> plotly Figure; no streamlit."""
