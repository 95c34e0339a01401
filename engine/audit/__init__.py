"""Audit of identifiers and rankings: codebook health, coverage, exposure, lost targets, findings (METHOD section 6).

Tables in, tables out: the inputs are DataFrames with the column names of schema.sql or plain arrays, the outputs have
the columns of their table less `run_id`. numpy, pandas and scipy alone are imported here, so that the dashboard may call
the same functions on demand.
"""
