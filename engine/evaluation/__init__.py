"""Metrics of rankers and beams, with bootstrap intervals and paired tests over queries (METHOD section 4)."""
