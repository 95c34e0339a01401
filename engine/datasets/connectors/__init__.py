"""Where data lies elsewhere: databases through ADBC, object stores through fsspec, tables in several Parquet parts."""
