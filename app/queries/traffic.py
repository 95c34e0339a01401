"""SQL fragments of how much a query counts and what all exposure is: the same as in the audit itself."""

TRAFFIC = """
        traffic AS (
            SELECT query_id, CASE WHEN (SELECT sum(greatest(frequency, 0)) FROM queries) > 0
                                  THEN greatest(coalesce(frequency, 0), 0) ELSE 1 END AS weight
            FROM queries)
"""
"""CTE `traffic`: query_id, weight. Queries without traffic do not count, unless none has any."""
RANKED = f"""
        {TRAFFIC},
        ranked AS (
            SELECT s.query_id, t.weight, s.item_id, s.rank, s.rank_without_sid, s.matched_prefix
            FROM scores s JOIN traffic t USING (query_id)
            WHERE s.run_id = $run AND t.weight > 0 AND s.rank IS NOT NULL AND s.rank_without_sid IS NOT NULL)
"""
"""CTEs `traffic` and `ranked`: the pairs that exposure counts; takes $run."""
