"""What the Data page reads: how the catalogue came in, what was left out, what it holds, and its rows."""

from __future__ import annotations

from typing import Any

import duckdb
import pandas as pd

TABLES = ("items", "queries", "judgments")
GRADE_BARS = 24
"""Where the scale has room for more bars than this at the smallest step between two grades, as with means over raters, grades
are counted in twentieths of the scale."""

# ---------------------------------------------------------------- how it came in

_OURS = "(imported_run IS NULL OR imported_run = $run)"
"""The catalogue's own files, and those of the run that is shown."""


def files(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """A row a file: file, table, n_read, n_accepted, n_rejected, n_skipped, why_skipped (None where nothing was)."""
    return cursor.execute(
        f"""
        SELECT f.file, f."table", f.n_read, f.n_accepted, f.n_rejected, f.n_skipped,
               (SELECT string_agg(why || ': ' || n_rows, '; ' ORDER BY s.position) FROM data_skipped s
                WHERE s.file = f.file AND s.imported_run IS NOT DISTINCT FROM f.imported_run) AS why_skipped
        FROM data_files f WHERE {_OURS} ORDER BY imported_run NULLS FIRST, position
        """,
        {"run": run_id},
    ).df()


def decisions(cursor: duckdb.DuckDBPyConnection, run_id: str, file: str) -> pd.DataFrame:
    """What was found out about a file ('' = all): file, what, found, because, change, notable; the notable ones first."""
    return cursor.execute(
        f"""
        SELECT file, what, found, because, change, notable FROM data_decisions
        WHERE {_OURS} AND ($file = '' OR file = $file) ORDER BY NOT notable, imported_run NULLS FIRST, position
        """,
        {"run": run_id, "file": file},
    ).df()


def issues(cursor: duckdb.DuckDBPyConnection, run_id: str, file: str) -> pd.DataFrame:
    """Broken rules of a file ('' = all), what costs rows first: file, rule, column, costs, n_rows, share (of the rows read
    and not passed over), example (the first one), examples (a line each)."""
    return cursor.execute(
        f"""
        SELECT i.file, i.rule, i."column", i.costs, i.n_rows, i.n_rows / nullif(f.n_read - f.n_skipped, 0) AS share,
               i.examples[1] AS example, array_to_string(i.examples, chr(10)) AS examples
        FROM data_issues i LEFT JOIN data_files f
             ON f.file = i.file AND f.imported_run IS NOT DISTINCT FROM i.imported_run
        WHERE {_OURS.replace("imported_run", "i.imported_run")} AND ($file = '' OR i.file = $file)
        ORDER BY i.costs <> 'row', i.n_rows DESC, i.imported_run NULLS FIRST, i.position
        """,
        {"run": run_id, "file": file},
    ).df()


def notes(cursor: duckdb.DuckDBPyConnection, run_id: str) -> list[str]:
    """What ingest remarked."""
    rows = cursor.execute(
        f"SELECT note FROM data_notes WHERE {_OURS} ORDER BY imported_run NULLS FIRST, position", {"run": run_id}
    ).fetchall()
    return [note for (note,) in rows]


def by_adapter(cursor: duckdb.DuckDBPyConnection) -> bool:
    """Whether an adapter made the catalogue's files from those of another layout."""
    return bool(_one(cursor, "SELECT count(*) FROM data_decisions WHERE imported_run IS NULL AND what = 'layout'", {}))


def reject_counts(cursor: duckdb.DuckDBPyConnection, run_id: str) -> pd.DataFrame:
    """file, rules, n_kept (rows here), n_alike (rows rejected so); the commonest first."""
    return cursor.execute(
        f"""
        SELECT file, rules, count(*) AS n_kept, max(n_alike) AS n_alike FROM rejects WHERE {_OURS}
        GROUP BY imported_run, file, rules ORDER BY n_alike DESC, file, rules
        """,
        {"run": run_id},
    ).df()


def rejects(
    cursor: duckdb.DuckDBPyConnection, run_id: str, file: str, rules: str, limit: int, offset: int
) -> pd.DataFrame:
    """Rejected rows of a file and rules ('' = all) in the order of the files: file, line, rules, reason, content."""
    return cursor.execute(
        f"""
        SELECT file, line, rules, reason, content FROM rejects
        WHERE {_OURS} AND ($file = '' OR file = $file) AND ($rules = '' OR rules = $rules)
        ORDER BY imported_run NULLS FIRST, file, line LIMIT $limit OFFSET $offset
        """,
        {"run": run_id, "file": file, "rules": rules, "limit": limit, "offset": offset},
    ).df()


def columns(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Columns of the stored tables that have rows: table, column, n_rows, n_missing, missing (share)."""
    return cursor.execute(
        """SELECT "table", "column", n_rows, n_missing, n_missing / n_rows AS missing FROM data_columns
           WHERE n_rows > 0 ORDER BY position"""
    ).df()


# ---------------------------------------------------------------- what it holds


def title_lengths(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Items by the words of their title (parted by white space): words, n_items."""
    return cursor.execute("SELECT words, n_items FROM title_lengths ORDER BY words").df()


def departments(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Items by the first part of their category path (NULL = none), largest first: department, n_items, n_categories, share."""
    return cursor.execute(
        """
        SELECT c.department, count(*) AS n_items, count(DISTINCT i.category) AS n_categories,
               count(*) / sum(count(*)) OVER () AS share
        FROM items i LEFT JOIN categories c USING (category) GROUP BY 1 ORDER BY n_items DESC, department
        """
    ).df()


def depths(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Items by the parts of their category path (0 = no category): depth, n_items, share."""
    return cursor.execute(
        """SELECT coalesce(c.depth, 0) AS depth, count(*) AS n_items, count(*) / sum(count(*)) OVER () AS share
           FROM items i LEFT JOIN categories c USING (category) GROUP BY 1 ORDER BY 1"""
    ).df()


def grades(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Judged pairs by grade: grade (the step's middle where they are counted so), n_pairs, n_relevant (at or above the
    threshold), step (NULL where every grade stands for itself)."""
    return cursor.execute(
        f"""
        WITH gaps AS (SELECT grade - lag(grade) OVER (ORDER BY grade) AS gap FROM (SELECT DISTINCT grade FROM judgments)),
        scale AS (
            SELECT CASE WHEN max_grade / (SELECT min(gap) FROM gaps) > {GRADE_BARS} THEN max_grade / 20 END AS step, relevant_grade
            FROM snapshot
        )
        SELECT CASE WHEN step IS NULL THEN grade ELSE (least(floor(grade / step), 19) + 0.5) * step END AS bar,
               count(*) AS n_pairs, count(*) FILTER (grade >= relevant_grade) AS n_relevant, any_value(step) AS step
        FROM judgments, scale GROUP BY 1 ORDER BY 1
        """
    ).df().rename(columns={"bar": "grade"})  # fmt: skip


def judged(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Judged pairs by source and split: source, split, n_pairs, n_queries, n_relevant, relevant (share), mean_raters."""
    return cursor.execute(
        """
        SELECT j.source, j.split, count(*) AS n_pairs, count(DISTINCT query_id) AS n_queries,
               count(*) FILTER (grade >= relevant_grade) AS n_relevant, n_relevant / count(*) AS relevant,
               avg(n_raters) AS mean_raters
        FROM judgments j, snapshot GROUP BY 1, 2 ORDER BY n_pairs DESC, 1, 2
        """
    ).df()


def pairs_per_query(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Judged queries by how many of their items were judged: n_pairs, n_queries, n_one_sided (all relevant, or none)."""
    return cursor.execute(
        """
        SELECT n AS n_pairs, count(*) AS n_queries, count(*) FILTER (relevant IN (0, n)) AS n_one_sided
        FROM (SELECT query_id, count(*) AS n, count(*) FILTER (grade >= relevant_grade) AS relevant
              FROM judgments, snapshot GROUP BY 1)
        GROUP BY 1 ORDER BY 1
        """
    ).df()


def traffic(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Queries with traffic by tier: tier, n_queries, share_of_queries, frequency, share, n_once (asked once at most), n_judged."""
    return cursor.execute(
        """
        SELECT tier, count(*) AS n_queries, count(*) / sum(count(*)) OVER () AS share_of_queries, sum(frequency) AS frequency,
               sum(frequency) / sum(sum(frequency)) OVER () AS share, count(*) FILTER (frequency <= 1) AS n_once,
               count(*) FILTER (n_judged > 0) AS n_judged
        FROM queries WHERE frequency > 0 GROUP BY 1
        ORDER BY list_position(['head', 'torso', 'tail'], tier)
        """
    ).df()


def traffic_curve(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """How much traffic the most frequent queries hold, at 200 points and at a tenth of them: queries (count), share_of_queries,
    share_of_traffic."""
    return cursor.execute(
        """
        WITH ordered AS (
            SELECT row_number() OVER w AS queries, count(*) OVER () AS n,
                   sum(frequency) OVER (w ROWS UNBOUNDED PRECEDING) / sum(frequency) OVER () AS share_of_traffic
            FROM queries WHERE frequency > 0 WINDOW w AS (ORDER BY frequency DESC, query_id)
        )
        SELECT queries, queries / n AS share_of_queries, share_of_traffic FROM ordered
        WHERE queries IN (1, n // 10, n) OR floor(200 * queries / n) > floor(200 * (queries - 1) / n) ORDER BY 1
        """
    ).df()


def query_sources(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Queries by where they come from: source, n_queries, n_judged."""
    return cursor.execute(
        """SELECT source, count(*) AS n_queries, count(*) FILTER (n_judged > 0) AS n_judged FROM queries
           GROUP BY 1 ORDER BY n_queries DESC, source"""
    ).df()


def log_sums(cursor: duckdb.DuckDBPyConnection, kind: str) -> pd.DataFrame:
    """The search log by 'position' or 'day', or 'all' of it, less synthetic rows and rows that state none: value, n_rows,
    impressions, clicks, purchases, n_queries, n_items, click_rate (clicks / impressions)."""
    return cursor.execute(
        """
        SELECT "value", n_rows, impressions, clicks, purchases, n_queries, n_items, clicks / nullif(impressions, 0) AS click_rate
        FROM log_sums WHERE kind = $kind AND source = 'log' AND ($kind = 'all' OR "value" IS NOT NULL)
        ORDER BY TRY_CAST("value" AS INTEGER), "value"
        """,
        {"kind": kind},
    ).df()


# ---------------------------------------------------------------- rows


def _rows_of(table: str) -> str:
    """The rows of a table that hold the words; unknown tables are a mistake of the caller."""
    return {
        "items": """
            SELECT item_id, title, category, seller, brand, price, currency, tier, created_at, popularity, description,
                   CAST(attributes AS VARCHAR) AS attributes
            FROM items WHERE $find = '' OR item_id = $find OR contains(lower(title), $like)
                 OR contains(lower(coalesce(category, '')), $like)""",
        "queries": """
            SELECT query_id, text, frequency, tier, source, split, n_judged, category, kind
            FROM queries WHERE $find = '' OR query_id = $find OR contains(lower(text), $like)""",
        "judgments": """
            SELECT j.query_id, q.text, j.item_id, i.title, j.grade, j.source, j.split, j.n_raters, j.attractiveness, j.low,
                   j.high, j.examined
            FROM judgments j LEFT JOIN queries q USING (query_id) LEFT JOIN items i USING (item_id)
            WHERE $find = '' OR j.query_id = $find OR j.item_id = $find OR contains(lower(q.text), $like)
                 OR contains(lower(i.title), $like)""",
    }[table]


_ORDER = {
    "items": "item_id",
    "queries": "frequency DESC NULLS LAST, query_id",
    "judgments": "query_id, grade DESC, item_id",
}


def rows(cursor: duckdb.DuckDBPyConnection, table: str, find: str, limit: int, offset: int) -> pd.DataFrame:
    """Rows of 'items', 'queries' (most frequent first) or 'judgments' whose id is `find` or whose words hold it ('' = all)."""
    return cursor.execute(
        f"{_rows_of(table)} ORDER BY {_ORDER[table]} LIMIT $limit OFFSET $offset",
        {"find": find, "like": find.lower(), "limit": limit, "offset": offset},
    ).df()


def count_rows(cursor: duckdb.DuckDBPyConnection, table: str, find: str) -> int:
    """How many there are."""
    return _one(cursor, f"SELECT count(*) FROM ({_rows_of(table)})", {"find": find, "like": find.lower()})


def best_query(cursor: duckdb.DuckDBPyConnection, run_id: str, item_id: str) -> str | None:
    """The query that ranks an item highest in a run; None where none retrieved it."""
    return _one(
        cursor,
        "SELECT arg_min(query_id, (rank, query_id)) FROM scores WHERE run_id = $run AND item_id = $item AND rank IS NOT NULL",
        {"run": run_id, "item": item_id},
    )


def sid_of(cursor: duckdb.DuckDBPyConnection, run_id: str, item_id: str) -> str | None:
    """The SID of an item in a run."""
    return _one(
        cursor,
        "SELECT any_value(sid) FROM sids WHERE run_id = $run AND item_id = $item",
        {"run": run_id, "item": item_id},
    )


def _one(cursor: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any]) -> Any:
    row = cursor.execute(sql, values).fetchone()
    return row[0] if row else None
