"""SID exports as published systems write them: each kind by the small inputs of tests/cases/sid-* and variants of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from engine.cli.options import app
from engine.datasets.ingest import IngestedAudit, ingest, ingest_audit
from engine.errors import DataError

CASES = Path(__file__).parents[1] / "cases"
N = 12
CODES = {str(i): [i % 3, i % 4, i % 2] for i in range(N)}
TOKENS = {item: [f"<{name}_{code}>" for name, code in zip("abc", codes, strict=True)] for item, codes in CODES.items()}
TITLES = {item: {"title": f"cap {item}"} for item in CODES}
ITEMS = "item_id,title\n" + "".join(f"{item},cap {item}\n" for item in CODES)


def write(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def read(path: Path, tmp_path: Path, **options: Any) -> IngestedAudit:
    return ingest_audit(path, tmp_path / "ws", **options)


def codes(done: IngestedAudit) -> dict[str, list[int]]:
    assert done.files.sids is not None
    found = done.files.sids.to_pydict()
    return dict(zip(found["item_id"], found["codes"], strict=True))


def refused(path: Path, tmp_path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, tmp_path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def table(columns: str, rows: dict[str, list[Any]], between: str = ",") -> str:
    return columns + "\n" + "".join(between.join([item, *map(str, row)]) + "\n" for item, row in rows.items())


# ---------------------------------------------------------------- spellings


@pytest.mark.parametrize(
    ("case", "first"),
    [
        ("sid-underscored", {"0": [0, 0, 0], "7": [1, 3, 1]}),
        ("sid-boundary-tokens", {"0": [0, 0, 0], "7": [1, 3, 1]}),
        ("sid-codes-run-together", {"0": [0, 8192, 16384], "7": [1, 8195, 16385]}),
        ("sid-columns-other-names", {"0": [0, 0, 0], "7": [1, 3, 1]}),
        ("sid-other-file-name", {"0": [0, 0], "5": [2, 1]}),
    ],
)
def test_cases_are_read_whole(case: str, first: dict[str, list[int]], tmp_path: Path) -> None:
    done = read(CASES / case, tmp_path)
    assert done.report.n_rejected == 0
    assert first.items() <= codes(done).items()


@pytest.mark.parametrize(
    "spell", ["sid_{}_{}_{}", "sid_{}-{}-{}", "SID:{}_{}_{}", "<|sid_begin|><s_a_{}><s_b_{}><s_c_{}><|sid_end|>",
              "C{}C{}C{}", "[{}, {}, {}]", "[{} {} {}]", "({}, {}, {})", "{} {} {}", "<a_{}><b_{}><c_{}>", "[[{}, {}, {}]]"],
)  # fmt: skip
def test_a_spelling_in_an_index_and_in_a_table(spell: str, tmp_path: Path) -> None:
    texts = {item: spell.format(*own) for item, own in CODES.items()}
    assert codes(read(write(tmp_path / "index", {"shop.index.json": texts}), tmp_path)) == CODES
    rows = {item: [f'"{text}"'] for item, text in texts.items()}
    shop = write(tmp_path / "table", {"items.csv": ITEMS, "sids.csv": table("item_id,sid", rows)})
    assert codes(read(shop, tmp_path)) == CODES


def test_a_spelling_that_is_not_understood_rejects_with_its_reason(tmp_path: Path) -> None:
    bad = {item: "sid_{}-{}_{}".format(*own) for item, own in CODES.items()}
    said = refused(write(tmp_path / "a", {"shop.index.json": bad}), tmp_path)
    assert "shop.index.json:1 sid 'sid_0-0_0' -> its codes are separated in two ways; write it as 17-203-88" in said
    negative = {item: [*own, -1] for item, own in CODES.items()}
    assert "a code is negative" in refused(write(tmp_path / "b", {"shop.index.json": negative}), tmp_path)
    mixed = {**TOKENS, "0": ["<a_0>", "<c_0>", "<x_1>"]}
    assert "its levels are a c x where most have a b c" in refused(
        write(tmp_path / "c", {"shop.index.json": mixed}), tmp_path
    )


def test_codes_that_go_on_counting_are_said_and_kept(tmp_path: Path) -> None:
    done = read(CASES / "sid-codes-run-together", tmp_path)
    assert any("(0-2, 8192-8195, 16384-16385); kept as given" in warning for warning in done.report.warnings)
    plain = read(write(tmp_path / "plain", {"shop.index.json": CODES}), tmp_path)
    assert not any("go on counting" in warning for warning in plain.report.warnings)


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize(
    "columns",
    ["item_id,semantic_id_0,semantic_id_1,semantic_id_2", "item,code1,code2,code3", "iid,codebook_0,codebook_1,codebook_2",
     "asin,level_1,level_2,level_3", "parent_asin,sid_level_1,sid_level_2,sid_level_3", "video_id,c_0,c_1,c_2",
     "Item ID,Code 1,Code 2,Code 3", "item_id,rqvae_0,rqvae_1,rqvae_2"],
)  # fmt: skip
def test_a_column_a_level(columns: str, tmp_path: Path) -> None:
    sids = table(columns, CODES)
    done = read(write(tmp_path / "shop", {"items.csv": ITEMS, "sids.csv": sids}), tmp_path)
    assert codes(done) == CODES
    assert len(done.catalogue.items) == N
    assert codes(read(write(tmp_path / "alone", {"export.csv": sids}), tmp_path)) == CODES
    assert codes(read(write(tmp_path / "tabs", {"export.tsv": sids.replace(",", "\t")}), tmp_path)) == CODES


@pytest.mark.parametrize("name", ["item_to_sid", "codes", "semantic_ids", "token_ids", "Semantic ID", "sids"])
def test_whole_sids_in_a_column(name: str, tmp_path: Path) -> None:
    sids = table(f"item,{name}", {item: [f'"{own}"'] for item, own in CODES.items()})
    done = read(write(tmp_path / "shop", {"items.csv": ITEMS, "sids.csv": sids}), tmp_path)
    assert codes(done) == CODES
    told = " ".join(decision.found for decision in done.report.decisions if decision.what == "columns")
    assert f"sid = '{name}'" in told
    assert "item_id = 'item'" in told


def test_the_column_of_ids_is_the_one_that_names_items(tmp_path: Path) -> None:
    rows = {item: [f"P{item}", *own] for item, own in CODES.items()}
    items = ITEMS.replace("\n", "\nP").removesuffix("P")
    sids = table("asin,parent_asin,c_0,c_1,c_2", rows)
    done = read(write(tmp_path / "shop", {"items.csv": items, "sids.csv": sids}), tmp_path)
    assert codes(done) == {f"P{item}": own for item, own in CODES.items()}


def test_columns_that_cannot_be_told(tmp_path: Path) -> None:
    two = table("item_id,foo_0,foo_1,bar_0,bar_1", {item: [*own[:2], *own[:2]] for item, own in CODES.items()})
    said = refused(write(tmp_path / "two", {"items.csv": ITEMS, "sids.csv": two}), tmp_path)
    assert (
        said
        == "sids.csv may have its SIDs in foo_0 ... foo_1 and in bar_0 ... bar_1; remove the columns that are not meant"
    )
    gap = table("item_id,c_0,c_2", {item: own[:2] for item, own in CODES.items()})
    assert "levels must follow each other" in refused(
        write(tmp_path / "gap", {"items.csv": ITEMS, "sids.csv": gap}), tmp_path
    )


# ---------------------------------------------------------------- suffixes


def suffixed(first: int) -> dict[str, list[str]]:
    """Items 6 to 11 share the SIDs of items 0 to 5, and have a suffix from `first`."""
    base = {i: [f"<a_{i % 6}>", f"<b_{i % 2}>"] for i in range(N)}
    return {str(i): [*own, f"<d_{first + i % 2}>"] if i > 5 else own for i, own in base.items()}


def test_a_suffix_is_asked_for(tmp_path: Path) -> None:
    said = refused(CASES / "sid-collision-suffix", tmp_path)
    assert "6 SIDs" in said
    assert "--sid-suffix drop" in said
    assert "--sid-suffix level" in said
    assert "allowed: drop, level" in refused(CASES / "sid-collision-suffix", tmp_path, sid_suffix="keep")


def test_a_suffix_dropped_or_a_level(tmp_path: Path) -> None:
    case = CASES / "sid-collision-suffix"
    assert codes(read(case, tmp_path, sid_suffix="drop"))["6"] == [0, 0]
    assert codes(read(case, tmp_path, sid_suffix="level")).items() >= {"0": [0, 0, 0], "6": [0, 0, 1]}.items()
    zero = read(write(tmp_path / "zero", {"shop.index.json": suffixed(0)}), tmp_path, sid_suffix="level")
    assert codes(zero).items() >= {"0": [0, 0, 0], "6": [0, 0, 1], "7": [1, 1, 2]}.items(), "0 is no suffix, so 0 is 1"
    assert any("raised by 1" in warning for warning in zero.report.warnings)


def test_settings_beside_an_index(tmp_path: Path) -> None:
    told = 'license = "CC0"\n[read]\nsid_suffix = "drop"\n'
    folder = write(tmp_path / "shop", {"caps.index.json": suffixed(1), "dataset.toml": told})
    done = read(folder, tmp_path)
    assert codes(done)["6"] == [0, 0]
    assert (done.catalogue.settings.name, done.catalogue.settings.license) == ("caps", "CC0")
    assert done.catalogue.settings.derived == ("title",)
    assert codes(read(folder, tmp_path, sid_suffix="level"))["6"] == [0, 0, 1], "an argument says more than the file"
    assert (folder / "dataset.toml").read_text() == told
    (folder / "dataset.toml").write_text("name = [1,")
    assert "dataset.toml is not valid TOML" in refused(folder, tmp_path)


def test_a_suffix_in_columns_in_numbers_and_of_a_few_items(tmp_path: Path) -> None:
    rows = {item: [own[0], own[1], int(item) // 9 if int(item) > 8 else ""] for item, own in CODES.items()}
    shop = write(tmp_path / "columns", {"items.csv": ITEMS, "sids.csv": table("item_id,c_0,c_1,c_2", rows)})
    assert "--sid-suffix drop" in refused(shop, tmp_path)
    assert codes(read(shop, tmp_path, sid_suffix="drop")) == {item: own[:2] for item, own in CODES.items()}
    few = {**{str(i): [i, i + 1] for i in range(40)}, "again": [7, 8, 1]}
    assert "1 SIDs, such as '[7, 8, 1]'" in refused(write(tmp_path / "few", {"id2sid.json": few}), tmp_path)


def test_a_suffix_is_not_a_damaged_sid(tmp_path: Path) -> None:
    odd = {**TOKENS, "0": TOKENS["0"][:2]}
    said = refused(write(tmp_path / "odd", {"shop.index.json": odd}), tmp_path)
    assert "SIDs of unequal length" in said
    assert "it has 2 levels where most have 3; if the last code of some is a suffix, add --sid-suffix" in said
    same = read(write(tmp_path / "same", {"shop.index.json": TOKENS}), tmp_path, sid_suffix="drop")
    assert any("changes nothing" in warning for warning in same.report.warnings)


def test_beams_follow_the_suffix(tmp_path: Path) -> None:
    beams = "query,rank,sid\ncap,1,<a_0><b_0><d_1>\ncap,2,<a_0><b_0>\ncap,3,<a_1><b_1>\n"
    shop = write(tmp_path / "shop", {"items.csv": ITEMS, "shop.index.json": suffixed(1), "beams.csv": beams})
    dropped, kept = (read(shop, tmp_path, sid_suffix=treat).files.beams for treat in ("drop", "level"))
    assert dropped is not None
    assert kept is not None
    assert dropped.column("codes").to_pylist() == [[0, 0], [1, 1]], "two beams that lead to one SID are one"
    assert kept.column("codes").to_pylist() == [[0, 0, 1], [0, 0, 0], [1, 1, 0]]


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("id2sid.json", TOKENS),
        ("anything.json", TOKENS),
        ("shop.index.json", {item: "".join(own) for item, own in TOKENS.items()}),
        ("codes.json", list(CODES.values())),
        ("bundle.json", {"item_to_sid": CODES, "codes": list(CODES.values())}),
        ("bundle.json", {"item_to_sid": {item: int(item) for item in CODES}, "codes": list(CODES.values())}),
        ("bundle.json", {"item_ids": list(CODES), "codes": list(CODES.values())}),
        ("semantic_ids.json", {"item_to_sid": TOKENS, "sid_to_item": {"".join(own): item for item, own in TOKENS.items()}}),
        ("sid2item.json", {"".join(own): item for item, own in TOKENS.items()}),
        ("sid2item.json", {"-".join(map(str, own)): [int(item)] for item, own in CODES.items()}),
        ("sids.json", [{"item_id": int(item), "sid": own} for item, own in CODES.items()]),
        ("out.json", {item: {"semantic_id": own, "title": f"cap {item}"} for item, own in CODES.items()}),
        ("out.json", {"item_id": list(CODES), "codes": list(CODES.values())}),
        ("out.jsonl", "".join(json.dumps({"iid": item, "codes": own}) + "\n" for item, own in CODES.items())),
        ("table.csv", table("item_id;sid", {item: ["-".join(map(str, own))] for item, own in CODES.items()}, ";")),
        ("table.csv", table(",sid_0,sid_1,sid_2", CODES)),
    ],
)  # fmt: skip
def test_files_are_told_by_what_is_in_them(name: str, content: object, tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", {name: content, "shop.inter.json": {"0": [1, 2], "1": [3, 4]}})
    done = read(folder, tmp_path)
    assert codes(done) == CODES
    assert f"SIDs were read from {name}" in " ".join(done.report.warnings)
    assert codes(read(folder / name, tmp_path)) == CODES, "given as a file"
    assert codes(read(folder, tmp_path, adapter="sid-json")) == CODES, "forced"
    items = write(tmp_path / "items", {name: content, "items.csv": ITEMS})
    assert read(items, tmp_path).catalogue.items["title"].tolist()[:2] == ["cap 0", "cap 1"], (
        "the contract's items beside it"
    )


def test_parquet_tables_and_several_items_of_a_sid(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    pq.write_table(pa.table({"asin": list(CODES), "sid": list(CODES.values())}), tmp_path / "shop" / "grid.parquet")
    assert codes(read(tmp_path / "shop", tmp_path)) == CODES
    shared = {"<a_1><b_2>": ["x", "y"], "<a_1><b_3>": ["z"]}
    found = codes(read(write(tmp_path / "many", {"sid2items.json": shared}), tmp_path))
    assert found == {"x": [1, 2], "y": [1, 2], "z": [1, 3]}


def test_the_items_file_gives_the_same_catalogue_with_and_without_an_index(tmp_path: Path) -> None:
    shop = write(tmp_path / "shop", {"items.csv": ITEMS})
    plain = ingest(shop, tmp_path / "ws").catalogue
    done = read(write(shop, {"id2sid.json": TOKENS}), tmp_path)
    assert done.catalogue.fingerprint == plain.fingerprint
    assert done.catalogue.settings.name == "shop"


def test_files_that_hold_no_sids(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", {"shop.item.json": TITLES, "codes.npy": "", "x.inter.json": {"0": [1, 2]}})
    assert "holds no SIDs; expected are" in refused(folder / "shop.item.json", tmp_path)
    assert "codes.npy is not read: SIDs are read from .json" in refused(folder / "codes.npy", tmp_path)
    assert "it has no index" in refused(folder, tmp_path, adapter="sid-json")
    assert "does not exist" in refused(folder / "none.json", tmp_path)


# ---------------------------------------------------------------- several datasets


def test_two_datasets_are_asked_for_and_chosen(tmp_path: Path) -> None:
    case = CASES / "sid-two-datasets"
    said = refused(case, tmp_path)
    assert "caps (caps.index.json), hats (hats.index.json)" in said
    assert "--dataset caps or --dataset hats" in said
    assert read(case, tmp_path, dataset="hats").catalogue.settings.name == "hats"
    assert read(case / "hats.index.json", tmp_path).catalogue.settings.name == "hats"
    assert "is none of the datasets" in refused(case, tmp_path, dataset="shoes")
    plain = write(tmp_path / "plain", {"items.csv": ITEMS, "sids.csv": "item_id,sid\n0,0-1\n1,0-2\n"})
    assert "leave it out" in refused(plain, tmp_path, dataset="caps")


@pytest.mark.parametrize("pattern", ["{}_id2sid.json", "index_{}.json", "{}.json", "{}_sids.json", "{}.id2sid.json"])
def test_each_dataset_has_its_own_texts(pattern: str, tmp_path: Path) -> None:
    files: dict[str, Any] = {pattern.format(name): TOKENS for name in ("caps", "hats")}
    files |= {f"{name}.item.json": {item: {"title": f"{name} {item}"} for item in CODES} for name in ("caps", "hats")}
    folder = write(tmp_path / "shop", files)
    assert "--dataset caps or --dataset hats" in refused(folder, tmp_path)
    assert read(folder, tmp_path, dataset="hats").catalogue.items["title"][0] == "hats 0"


def test_two_indexes_of_one_dataset_and_a_map_both_ways(tmp_path: Path) -> None:
    files = {"Arts.index.json": TOKENS, "Arts.index_2.json": CODES, "Arts.item.json": TITLES}
    folder = write(tmp_path / "two", files)
    assert "--dataset Arts.index or --dataset Arts.index_2" in refused(folder, tmp_path)
    assert read(folder, tmp_path, dataset="Arts.index_2").catalogue.items["title"][0] == "cap 0"
    both = {"item_to_sid.json": TOKENS, "sid_to_item.json": {"".join(own): item for item, own in TOKENS.items()}}
    assert codes(read(write(tmp_path / "both", both), tmp_path)) == CODES


# ---------------------------------------------------------------- ids and titles


def test_two_spaces_of_ids_are_refused(tmp_path: Path) -> None:
    said = refused(CASES / "sid-two-id-spaces", tmp_path)
    assert "the one names '0' and '1', the other 'SKU700' and 'SKU701'" in said
    items = ITEMS.replace("\n", "\nSKU").removesuffix("SKU")
    for files in (
        {"items.csv": items, "id2sid.json": TOKENS},
        {"items.csv": items, "sids.csv": table("item_id,c_0,c_1,c_2", CODES)},
    ):
        said = refused(write(tmp_path / ("sids.csv" if "sids.csv" in files else "json"), files), tmp_path)
        assert "the one names '0' and '1', the other 'SKU0' and 'SKU1'" in said


@pytest.mark.parametrize(("n", "warned"), [(3, True), (5, True), (6, False), (12, False)])
def test_few_common_ids_are_counted(n: int, warned: bool, tmp_path: Path) -> None:
    texts = {item: TITLES[item] for item in list(TITLES)[:n]}
    done = read(write(tmp_path / "shop", {"shop.index.json": TOKENS, "shop.item.json": texts}), tmp_path)
    assert any(f"only {n} of 12 items" in warning for warning in done.report.warnings) == warned
    assert len(done.catalogue.items) == N


@pytest.mark.parametrize("title", [math.nan, None, "nan", "None", "NaN", " null ", "", {"title": math.nan}])
def test_a_title_that_is_none(title: object, tmp_path: Path) -> None:
    texts = {
        **TITLES,
        "2": title if isinstance(title, dict) else {"title": title, "brand": math.nan, "price": math.nan},
    }
    done = read(write(tmp_path / "shop", {"shop.index.json": TOKENS, "shop.item.json": texts}), tmp_path)
    assert done.catalogue.items["title"].tolist()[1:4] == ["cap 1", "Item 2", "cap 3"]
    assert done.catalogue.items["brand"].isna().all()
    assert done.catalogue.items["attributes"].isna().all()
    assert done.catalogue.settings.derived == ("title",)


def test_nan_in_json_is_missing(tmp_path: Path) -> None:
    done = read(CASES / "sid-nan-title", tmp_path)
    assert done.catalogue.items["title"].tolist()[:3] == ["oak tray", "wool cap", "Item 2"]
    assert done.catalogue.items[["brand", "attributes"]].isna().all(axis=None)


# ---------------------------------------------------------------- the command


def test_the_command_takes_a_file_and_the_options_that_its_messages_name(tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        command = ["import", *arguments, "--workspace", str(tmp_path / "ws"), "--preset", "tiny", "--no-map"]
        return CliRunner().invoke(app, command)

    assert run(str(CASES / "sid-other-file-name" / "id2sid.json")).exit_code == 0
    suffix = str(CASES / "sid-collision-suffix")
    assert isinstance(run(suffix).exception, DataError)
    assert run(suffix, "--sid-suffix", "drop").exit_code == 0
    assert run(suffix, "--sid-suffix", "level").exit_code == 0
    assert run(str(CASES / "sid-two-datasets"), "--dataset", "caps").exit_code == 0
