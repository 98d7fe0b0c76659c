"""Tags from samples, and their figures, against plain forms in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from ganjax.metrics import table, tags


def plain_votes(samples, vectors, nearest):
    """Votes by loops in float64: of equal cosines the first words win."""
    counts, total, first = np.zeros(len(vectors), int), np.zeros(len(vectors)), set()
    for sample in samples.astype(np.float64):
        cosines = []
        for vector in vectors.astype(np.float64):
            lengths = np.sqrt(np.sum(sample**2)) * np.sqrt(np.sum(vector**2))
            cosines.append(np.sum(sample * vector) / max(lengths, 1e-12))
        order = sorted(range(len(vectors)), key=lambda i: (-cosines[i], i))
        for i in order[:nearest]:
            counts[i] += 1
        first.add(order[0])
        total += cosines
    return counts, total / len(samples), len(first)


def plain_tags(counts, cosines, number):
    order = sorted(range(len(counts)), key=lambda i: (-counts[i], -cosines[i], i))
    return [i for i in order if counts[i]][:number]


@pytest.mark.parametrize(("words", "nearest"), [(60, 20), (7, 7)])
def test_votes_and_tags_are_those_of_a_plain_form(words, nearest):
    random = np.random.RandomState(words)
    samples = random.randn(3, 11, 5).astype(np.float32)
    vectors = random.randn(words, 5).astype(np.float32)
    counts, cosines, distinct = tags.count_votes(
        jnp.asarray(samples), jnp.asarray(vectors), nearest
    )
    for i in range(3):
        expected = plain_votes(samples[i], vectors, nearest)
        np.testing.assert_array_equal(counts[i], expected[0])
        np.testing.assert_allclose(cosines[i], expected[1], atol=1e-6)
        votes = tags.Votes(np.asarray(counts[i]), np.asarray(cosines[i]), int(distinct[i]))
        assert votes.distinct == expected[2]
        assert votes.ranked(10).tolist() == plain_tags(*expected[:2], 10)


def test_ties_go_to_the_larger_cosine_and_then_to_the_first_word():
    votes = tags.Votes(np.array([2, 5, 2, 0, 2]), np.float32([0.1, 0, 0.3, 0.9, 0.1]), 1)
    assert votes.ranked().tolist() == [1, 2, 0, 4]
    assert votes.ranked(2).tolist() == [1, 2]
    # Two equal vectors have the same cosine, of which the first alone is among the nearest.
    vectors = jnp.float32([[0, 1], [1, 0], [2, 0]])
    counts, _, distinct = tags.count_votes(jnp.float32([[[3, 0], [0, 2]]]), vectors, 1)
    assert counts.tolist() == [[1, 1, 0]]
    assert distinct.tolist() == [2]


def test_a_sample_or_word_without_length_has_no_direction():
    counts, cosines, _ = tags.count_votes(jnp.zeros((1, 2, 3)), jnp.eye(3).at[0].set(0), 2)
    assert counts.sum() == 4
    assert not cosines.any()


def test_the_tagger_pads_its_last_batch_and_keeps_the_order():
    vectors = np.eye(4, dtype=np.float32)

    def sample(generator, z, features):
        return features * generator + 0 * z

    tagger, latents = tags.Tagger(sample, vectors), np.ones((3, 4), np.float32)
    features = np.eye(4, dtype=np.float32)[[2, 0, 3, 1, 1] * 5]
    found = list(tagger(jnp.float32(2), latents, features))
    assert [votes.ranked(1)[0] for votes in found] == [2, 0, 3, 1, 1] * 5
    assert found[0].counts.tolist() == [3, 3, 3, 3]  # Four words are fewer than 20.


def test_scores_are_those_of_a_plain_form_and_unknown_tags_are_missed():
    found = [("a", "b", "c"), (), ("x", "y"), tuple("abcdefghij")]
    own = [{"c", "a", "no vector"}, {"a"}, {"z"}, ["j"]]
    scores = tags.score(found, own)
    np.testing.assert_allclose(scores.precision, [0.2, 0, 0, 0.1])
    np.testing.assert_allclose(scores.recall, [2 / 3, 0, 0, 1])
    np.testing.assert_allclose(scores.rank, [1, 0, 0, 0.1])
    means = {"precision_at_10": 0.075, "recall_at_10": 5 / 12, "mean_reciprocal_rank": 0.275}
    assert scores.figures() == pytest.approx(means)


def test_bootstrap_errors_are_about_those_of_a_mean():
    values = np.random.RandomState(0).rand(400)
    scores = tags.Scores(values, values, np.full(400, 0.5))
    errors = scores.errors()
    assert errors["precision_at_10"] == pytest.approx(values.std() / 20, rel=0.1)
    assert errors["mean_reciprocal_rank"] == 0


def test_baselines_are_the_most_frequent_tags_and_those_of_the_nearest_images():
    training = [("a", "b"), ("b", "c", "rare"), ("b", "a"), ("d",)]
    known = {"a", "b", "c", "d"}
    assert tags.most_frequent(training, known) == ("b", "a", "c", "d")
    features = np.float32([[1, 0], [0, 1], [1, 1], [-1, 0]])
    found = tags.of_neighbours(np.float32([[0, 3], [2, 0.1]]), features, training, known)
    assert found == [("b", "c", "a", "d"), ("a", "b", "c", "d")]
    # Ten are enough, and the rest of the tenth's image is left out.
    many = [tuple(f"{i}{j}" for j in range(4)) for i in range(4)]
    (ten,) = tags.of_neighbours(
        features[:1], features, many, {tag for each in many for tag in each}
    )
    assert ten == (*many[0], *many[2], *many[1][:2])


def test_figures_of_tags_are_in_the_table_and_say_what_is_better():
    assert table.sign("precision_at_10") == table.sign("mean_reciprocal_rank") == 1
    assert table.sign("distinct_tags") is None
