"""SID signals of a query-item pair beyond the paper's scalar, each beside its dense twin; one file an idea."""
