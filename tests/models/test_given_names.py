"""Names of networks that were given as objects, where a file has them."""

import pickle

import pytest

from autogrow.errors import NetworkError
from autogrow.models.given import handed_over


@pytest.mark.parametrize(
    "name", ["../elsewhere/net-0123456789ab", "net", "/tmp/net-0123456789ab", "net-0123456789ab/.."]
)
def test_no_name_leads_out_of_the_folder(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    elsewhere = tmp_path / "autogrow" / "autogrow-given" / "elsewhere"
    elsewhere.mkdir(parents=True)
    (elsewhere / "net-0123456789ab.pickle").write_bytes(pickle.dumps(len))
    with pytest.raises(NetworkError, match="give the same object again"):
        handed_over(f"<given>:{name}")
