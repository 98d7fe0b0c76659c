"""Sets of images with tags, and files of word vectors."""

import numpy as np
import pytest
from small import write_arrays

from ganjax.data import tags, word_vectors
from ganjax.data.base import take
from ganjax.data.pipeline import uniform
from ganjax.data.tags import TagFields
from ganjax.data.word_vectors import WordVectors
from ganjax.errors import DataError, UserError

ARRAYS = {"feature_dim": 6, "vector_dim": 5}


@pytest.fixture(scope="module")
def emoji():
    return tags.open_tagged(TagFields(source="embedded:emoji64"))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    folder = write_arrays(tmp_path_factory.mktemp("tags") / "arrays")
    return TagFields(source=f"arrays:{folder}", **ARRAYS)


def test_emoji_are_split_in_three_and_the_skip_gram_reads_training_ones_alone(emoji):
    rows = np.concatenate(list(emoji.splits.values()))
    assert sorted(rows) == list(range(1_601))
    assert [len(emoji.splits[name]) for name in tags.SPLITS] == [1_304, 141, 156]
    read = emoji.of_training()
    assert len(read) == 1_304
    tested = [emoji.sentences[i] for i in emoji.splits["test"]]
    assert len(set(tested) - set(read)) > 150  # Some emoji have the same name and tags.


def zipped(path):
    np.savez(path, np.ones((24, 6), np.float32))
    return path.read_bytes()


def save_header(path, shape):
    """Writes the header of an array that is not there."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)


def test_words_are_lower_case_parts_of_a_text_each_once():
    assert tags.words("Man_playing ball  man ü2") == ("man", "playing", "ball", "ü2")
    assert tags.words("") == ()


def test_a_real_is_a_feature_with_the_vector_of_one_of_its_tags(arrays):
    tagged, features = tags.open_tagged(arrays), tags.given_features(arrays)
    vectors = tags.given_vectors(arrays)
    source = tags.tag_source(tagged, features, vectors, "train")
    indices = np.arange(source.size)
    for reads in (source.fetch(indices), source.drawn(indices, np.full(source.size, 0.7))):
        for feature, vector in zip(reads["feature"], reads["vector"], strict=True):
            images = np.flatnonzero((features == feature).all(1))
            (word,) = np.flatnonzero((vectors.vectors == vector).all(1))
            assert all(vectors.words[word] in tagged.tags[i] for i in images)
            assert set(images) & set(tagged.splits["train"])
    first, last = (source.drawn(np.zeros(1, int), np.array([u]))["vector"] for u in (0.0, 1 - 1e-9))
    assert not np.array_equal(first, last)
    part = take(source, np.array([3, 1]))
    np.testing.assert_array_equal(
        part.drawn(np.array([1]), np.zeros(1))["vector"],
        source.drawn(np.array([1]), np.zeros(1))["vector"],
    )


def test_numbers_by_which_tags_are_drawn_are_of_seed_and_position():
    numbers = uniform(0, 0, 10, 5, 20)
    np.testing.assert_array_equal(numbers, uniform(0, 0, 10, 0, 40)[5:25])
    assert not np.array_equal(numbers[:5], uniform(1, 0, 10, 5, 5))
    assert len(set(numbers)) == 20
    assert numbers.min() >= 0
    assert numbers.max() < 1


def test_word2vec_files_are_read_in_both_formats(tmp_path):
    vectors = np.float32([[1, -2.5], [0.25, 3]])
    words = ("cat", "föhn")
    text = "2 2\ncat 1 -2.5\nföhn 0.25 3\n"
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.txt").write_text(text.partition("\n")[2])
    rows = [w.encode() + b" " + v.tobytes() for w, v in zip(words, vectors, strict=True)]
    (tmp_path / "c.bin").write_bytes(b"2 2\n" + b"".join(rows))
    (tmp_path / "d.bin").write_bytes(b"2 2\n" + b"\n".join(rows) + b"\n")
    for name in ("a.txt", "b.txt", "c.bin", "d.bin"):
        found = word_vectors.read(tmp_path / name)
        assert found.words == words
        np.testing.assert_array_equal(found.vectors, vectors)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.txt", b"", "not every line is a word and as many numbers"),
        ("a.txt", b"2 2\ncat 1 2\n", "its first line says 2 words of 2 numbers"),
        ("a.txt", b"cat 1 2\ndog 1\n", "not every line"),
        ("a.txt", b"cat 1 2\ncat 1 3\n", "two vectors of the word 'cat'"),
        ("a.txt", b"cat 1 nan\n", "infinite or NaN"),
        ("a.txt", b"cat 1 1e300\n", "infinite or NaN"),
        ("a.txt", b"999999999 200\ncat 1 2\n", "says 999999999 words of 200 numbers"),
        ("a.txt", b"1 -2\ncat 1 2\n", "says 1 words of -2 numbers"),
        ("a.txt", b"0 0\n", "says 0 words|not every line"),
        ("a.txt", b"c\xff\xfet 1 2\n", "can't decode byte 0xff"),
        ("a.txt", b"9" * 5_000 + b" 2\n", "Exceeds the limit"),
        ("a.bin", b"999999999 200\ncat 12345678", "says b'999999999 200', and 12 bytes follow"),
        ("a.bin", b"1 -2\ncat 12345678", "says b'1 -2'"),
        ("a.bin", b"2 1\ncat 1234567890", "not found|smaller than"),
        ("a.bin", b"1 2\nc\xfft 12345678", "can't decode byte 0xff"),
        ("a.bin", b"1 1\ncat \0\0\xc0\x7f", "infinite or NaN"),
        ("a.bin", b"2 1\ncat 1234\ncat 1234", "two vectors of the word 'cat'"),
        ("a.txt", b"cat 1 x\n", "could not convert"),
        ("a.bin", b"1 2\ncat 1", "9? ?bytes follow|and 5 bytes follow"),
        ("a.bin", b"cat 1 2\n", "holds no word vectors"),
        ("missing.txt", None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_file_of_word_vectors_is_refused_in_one_line(tmp_path, name, content, match):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=match) as caught:
        word_vectors.read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_word_may_hold_whatever_is_no_blank(tmp_path):
    (tmp_path / "a.txt").write_text("a\xa0b 1 2 \n\x85\t3  4\r\n\u2028 5 6", newline="")
    found = word_vectors.read(tmp_path / "a.txt")
    assert found.words == ("a\xa0b", "\x85", "\u2028")
    np.testing.assert_array_equal(found.vectors, [[1, 2], [3, 4], [5, 6]])


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"words": np.array(["a"])}, "has no arrays words and vectors"),
        ({"words": np.array([b"a"]), "vectors": np.ones((1, 2), np.float32)}, "holds words"),
        ({"words": np.array(["a", "b"]), "vectors": np.ones((1, 2), np.float32)}, "2 words, and"),
        ({"words": np.array(["a"]), "vectors": np.ones((1, 2))}, "vectors float64"),
        ({"words": np.array(["a", "a"]), "vectors": np.ones((2, 2), np.float32)}, "two vectors"),
        ({"words": np.array(["a"]), "vectors": np.float32([[1, np.nan]])}, "infinite or NaN"),
    ],
)
def test_vectors_that_a_run_keeps_and_others_have_changed_are_refused(tmp_path, arrays, match):
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(DataError, match=match):
        word_vectors.load(tmp_path / "v.npz")


def test_vectors_are_kept_as_they_are_and_a_damaged_file_is_told(tmp_path):
    vectors = WordVectors(("a", "ß"), np.float32([[1, 2], [3, 4]]))
    word_vectors.save(tmp_path / "v.npz", vectors)
    found = word_vectors.load(tmp_path / "v.npz")
    assert found.words == vectors.words
    np.testing.assert_array_equal(found.vectors, vectors.vectors)
    np.testing.assert_allclose(found.centred().vectors, [[-1, -1], [1, 1]])
    uneven = WordVectors(("a", "b", "c"), np.float32([[6, 0], [-3, 1], [-3, -1]])).centred()
    np.testing.assert_allclose((uneven.vectors**2).sum(1), [2, 2, 2], rtol=1e-6)
    np.testing.assert_allclose(uneven.vectors[0], [2**0.5, 0], atol=1e-6)
    with pytest.raises(DataError, match="is missing, the word vectors of the run"):
        word_vectors.load(tmp_path / "w.npz")
    (tmp_path / "v.npz").write_bytes((tmp_path / "v.npz").read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be read"):
        word_vectors.load(tmp_path / "v.npz")


def test_without_gensim_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gensim.models", None)
    options = {"dim": 4, "window": 5, "min_count": 1, "epochs": 1}
    with pytest.raises(UserError, match=r"pip install 'ganjax\[tagging\]'"):
        word_vectors.skip_gram([("a", "b")], **options)


def test_a_skip_gram_gives_the_same_vectors_each_time_and_leaves_rare_words_out():
    pytest.importorskip("gensim")
    sentences = [("a", "b", "c"), ("b", "c"), ("c", "rare")] * 4 + [("once", "a")]
    options = {"dim": 4, "window": 5, "min_count": 4, "epochs": 3}
    one, other = (word_vectors.skip_gram(sentences, **options) for _ in range(2))
    assert set(one.words) == {"a", "b", "c", "rare"}
    assert one.words[0] == "c"
    np.testing.assert_array_equal(one.vectors, other.vectors)
    with pytest.raises(UserError, match="min_count=99: no word occurs so often"):
        word_vectors.skip_gram(sentences, **options | {"min_count": 99})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: (f / "tags.csv").unlink(), "tags.csv cannot be read"),
        (lambda f: (f / "tags.csv").write_text("word\na\nb\nc\n"), "the column tags"),
        (lambda f: (f / "tags.csv").write_text("tags\nred\nred\nred\n"), "has 3 images"),
        (lambda f: (f / "features.npy").write_bytes(b"no"), "cannot be read as an .npy file"),
        (lambda f: np.save(f / "features.npy", np.ones((24, 3))), r"features are numbers \(N, 6\)"),
        (lambda f: (f / "features.npy").write_bytes(zipped(f / "a.npz")), "cannot be read as an"),
        (lambda f: save_header(f / "features.npy", (10**15, 6)), r"should have \d+ bytes and has"),
        (lambda f: np.save(f / "features.npy", np.full((24, 6), np.nan)), "infinite or NaN"),
        (lambda f: np.save(f / "features.npy", np.full((24, 6), 1e300)), "NaN in 32 bits"),
        (lambda f: (f / "tags.csv").write_text('tags\n"red\nred\nred\n'), "a quote is opened and"),
        (lambda f: (f / "tags.csv").write_text("tags,tags\na,b\n"), "2 columns 'tags', 1, 2"),
        (lambda f: (f / "tags.csv").write_text("tags,split\nred\n"), "line 2 has 1 cells"),
        (lambda f: (f / "tags.csv").write_text("tags\n" + "x" * 200_000), "a cell has more than"),
        (lambda f: (f / "vectors.txt").unlink(), "has no vectors.bin or vectors.txt"),
        (lambda f: (f / "vectors.txt").write_text("red 1 2\n"), "have 2 numbers; set as many"),
        (lambda f: (f / "vectors.txt").write_text("pink 1 2 3 4 5\n"), "has a tag with a vector"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(tmp_path, change, match):
    folder = write_arrays(tmp_path / "arrays", images=False)
    change(folder)
    data = TagFields(source=f"arrays:{folder}", **ARRAYS)

    def opened():
        tagged, vectors = tags.open_tagged(data), tags.given_vectors(data)
        return tags.tag_source(tagged, tags.given_features(data), vectors, "train")

    with pytest.raises(DataError, match=match) as caught:
        opened()
    assert "\n" not in str(caught.value)


def test_a_column_names_the_splits(tmp_path):
    folder = write_arrays(tmp_path / "arrays", images=False)
    rows = ["tags,split"] + ["red,train"] * 20 + ["blue,validation"] * 3 + ["green,test"]
    (folder / "tags.csv").write_text("\n".join(rows))
    data = TagFields(source=f"arrays:{folder}", **ARRAYS)
    splits = tags.open_tagged(data).splits
    assert [len(splits[name]) for name in tags.SPLITS] == [20, 3, 1]
    (folder / "tags.csv").write_text("\n".join([*rows[:-1], "green,tst"]))
    with pytest.raises(DataError, match="name a split of each image"):
        tags.open_tagged(data)


@pytest.mark.parametrize("source", ["embedded:mnist5k", "arrays:", "arrays:/nowhere/at/all"])
def test_a_source_that_does_not_exist_is_refused(source):
    with pytest.raises(DataError, match=r"config\.data\.source="):
        tags.open_tagged(TagFields(source=source))
