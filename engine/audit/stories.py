"""Four stories for a visitor: how a SID works, a query that SIDs won, one they lost, and one that is ambiguous.

A story is told only where the served ranker's own contributions say what it says; else there is none.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.audit.traffic import PAGE, traffic_weights

METRIC = "ndcg@10"
"""Of `query_metrics`: what won and lost are read from."""
READING = 0.2
"""A level-1 code is a reading of an ambiguous query at or above this share of its beams' probability."""
STORY_COLUMNS = (
    *("kind", "query_id", "item_id", "sentence", "rank", "rank_without_sid", "matched_prefix", "sid", "other"),
)


def stories_table(
    moves: pd.DataFrame, beams: pd.DataFrame, query_metrics: pd.DataFrame, queries: pd.DataFrame, labels: dict[str, str]
) -> pd.DataFrame:
    """The `stories` table: one row a kind that the data can tell. Equal input gives equal stories.

    'example': a relevant item rises onto page one, matches a beam, the match adds to its score, SIDs add more to it than to
    the items it passed, and the best beam lies in its category; the deepest match, then the most frequent query. 'won': the
    same of a query whose `METRIC` rises, where SIDs are also more of the reason than all else; the largest rise. 'lost': a
    relevant item falls on a query whose `METRIC` falls, and SIDs are more of the reason than all else; the largest fall. Of
    both, one that ends, or began, on page one goes before any that nobody sees there.
    'ambiguous': the largest entropy of beams over level-1 codes, two of which hold `READING` or more. All of queries with
    traffic, each query once.

    Args:
        moves: relevant items that changed place: query_id, item_id, title, rank, rank_without_sid, match_level,
            matched_prefix, match (contribution of the match), sid and other (contributions less the mean of those it passed,
            or that passed it), beam_fits (the best beam lies in its category).
        beams: query_id, code (of level 1), log_prob.
        query_metrics, queries: tables (query_id, metric, difference; query_id, text, frequency).
        labels: label by prefix.
    """
    weight = pd.Series(traffic_weights(queries["frequency"].to_numpy(dtype=np.float64)), index=queries["query_id"])
    text = queries.set_index("query_id")["text"]
    change = query_metrics[query_metrics["metric"] == METRIC].set_index("query_id")["difference"]
    known = moves.assign(weight=moves["query_id"].map(weight), change=moves["query_id"].map(change))
    known = known[known["weight"] > 0]
    rose = known["rank"] < known["rank_without_sid"]
    matched = rose & known["beam_fits"].astype(bool) & (known[["match_level", "match", "sid"]] > 0).all(axis=1)
    known["seen"] = known[["rank", "rank_without_sid"]].min(axis=1) <= PAGE
    mainly = known["sid"].abs() >= known["other"].abs()
    picked = {
        "example": known[matched & (known["rank"] <= PAGE)].sort_values(
            ["match_level", "weight", "query_id", "rank", "item_id"], ascending=[False, False, True, True, True]
        ),
        "won": known[matched & mainly & (known["change"] > 0)].sort_values(
            ["seen", "change", "query_id", "rank", "item_id"], ascending=[False, False, True, True, True]
        ),
        "lost": known[~rose & mainly & (known["sid"] < 0) & (known["change"] < 0)].sort_values(
            ["seen", "change", "query_id", "rank_without_sid", "item_id"], ascending=[False, True, True, True, True]
        ),
    }
    rows: list[dict[str, object]] = []
    for kind, candidates in picked.items():
        fresh = candidates[~candidates["query_id"].isin([told["query_id"] for told in rows])]
        for row in fresh.head(1).to_dict("records"):
            sentence = _sentence(row, str(text[row["query_id"]]), labels)
            rows.append({**{str(name): value for name, value in row.items()}, "kind": kind, "sentence": sentence})
    ambiguous = _ambiguous(beams, weight, text, labels)
    return pd.DataFrame(rows + ([] if ambiguous is None else [ambiguous]), columns=list(STORY_COLUMNS))


def beam_entropies(beams: pd.DataFrame) -> pd.DataFrame:
    """How undecided each query's beams are: query_id, entropy (bits) over the beams' level-1 codes.

    `beams`: query_id, code, log_prob; their probabilities are scaled to sum to 1 a query and summed by code.
    """
    share = _readings(beams)
    share["entropy"] = -share["p"] * np.log2(share["p"].clip(lower=1e-300))
    return share.groupby("query_id", sort=True)["entropy"].sum().reset_index()


def _readings(beams: pd.DataFrame) -> pd.DataFrame:
    """query_id, code, p: shares of the beams' probability by level-1 code."""
    share = beams[["query_id", "code"]].assign(p=np.exp(beams["log_prob"].to_numpy(dtype=np.float64)))
    share = share.groupby(["query_id", "code"], sort=True)["p"].sum().reset_index()
    share["p"] /= share.groupby("query_id")["p"].transform("sum")
    return share


def _meaning(prefix: str, labels: dict[str, str]) -> str:
    """'code 17-203 (trail · waterproof)'."""
    return f"code {prefix}" + (f" ({labels[prefix]})" if prefix in labels else "")


def _short(title: str, most: int = 60) -> str:
    return title if len(title) <= most else title[: most - 1].rstrip() + "…"


def _sentence(row: dict, text: str, labels: dict[str, str]) -> str:
    """What moved, from where to where, and by what of its score."""
    rose = row["rank"] < row["rank_without_sid"]
    move = f"from rank {int(row['rank_without_sid'])} to {int(row['rank'])}"
    start = f"For '{text}', SIDs {'lift' if rose else 'drop'} the relevant '{_short(str(row['title']))}' {move}: "
    amounts = [
        f"{who} {'adds' if value >= 0 else 'takes'} {abs(value):.2f}"
        for who, value in (("its SID", row["sid"]), ("all else", row["other"]))
    ]
    why = f"against the items {'it passed' if rose else 'that passed it'}, in points of score, {' and '.join(amounts)}"
    if rose:
        why += f"; a beam of the query agrees with it down to {_meaning(str(row['matched_prefix']), labels)}"
    return f"{start}{why}."


def _ambiguous(
    beams: pd.DataFrame, weight: pd.Series, text: pd.Series, labels: dict[str, str]
) -> dict[str, object] | None:
    """The query with traffic whose beams are spread most evenly over level-1 codes, of which two are readings."""
    share = _readings(beams[beams["query_id"].map(weight).fillna(0) > 0])
    entropy = beam_entropies(beams).set_index("query_id")["entropy"]
    readings = share[share["p"] >= READING]
    several = readings.groupby("query_id").size().loc[lambda n: n > 1]
    if several.empty:
        return None
    query_id = str(entropy[several.index].sort_index().idxmax())
    own = readings[readings["query_id"] == query_id].sort_values(["p", "code"], ascending=[False, True]).head(3)
    said = [
        f"{100 * p:.0f} % {_meaning(str(int(code)), labels)}" for p, code in zip(own["p"], own["code"], strict=True)
    ]
    sentence = f"To the generator '{text[query_id]}' can mean several things: its beams say {', '.join(said)}."
    return {"kind": "ambiguous", "query_id": query_id, "sentence": sentence}
