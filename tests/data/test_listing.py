import pytest

from autogrow.data import DATASET_NAMES, list_datasets, open_dataset

from .official_files import tiny_cifar, tiny_idx, use_entry


def by_name(data_dir):
    return {listing.name: listing for listing in list_datasets(data_dir)}


@pytest.mark.slow
def test_every_built_in_dataset_is_listed_in_order(data_dir):
    assert tuple(listing.name for listing in list_datasets(data_dir)) == DATASET_NAMES


@pytest.mark.slow
def test_an_empty_folder_holds_only_what_needs_no_files(data_dir):
    assert [name for name, listing in by_name(data_dir).items() if listing.present] == [
        "digits",
        "sine",
        "friedman",
        "summation",
        "stdlib",
    ]
    assert by_name(data_dir)["digits"].files == ()
    assert by_name(data_dir)["cifar100"].files == (
        data_dir / "cifar-100-python/train",
        data_dir / "cifar-100-python/test",
    )


@pytest.mark.slow
def test_present_files_are_the_ones_that_would_be_opened(data_dir, monkeypatch):
    entry, _ = tiny_idx("mnist", data_dir, gzipped=False)
    use_entry(monkeypatch, "mnist", entry)
    cifar, _, _ = tiny_cifar("cifar10", data_dir, "archive")
    use_entry(monkeypatch, "cifar10", cifar)
    listings = by_name(data_dir)
    assert listings["mnist"].present
    assert listings["mnist"].files[1] == data_dir / "MNIST/raw/train-labels-idx1-ubyte"
    assert listings["cifar10"].files == (data_dir / "cifar-10-python.tar.gz",)
    assert not listings["fashion-mnist"].present


@pytest.mark.slow
def test_a_listing_agrees_with_the_opened_dataset(data_dir):
    for name in ("digits", "sine", "friedman", "summation"):
        listing, dataset = by_name(data_dir)[name], open_dataset(name, data_dir)
        for field in ("task", "input_shape", "num_outputs", "num_train", "num_test"):
            assert getattr(listing, field) == getattr(dataset, field)
