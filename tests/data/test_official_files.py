import io
import tarfile

import pytest

from autogrow.data.catalogue import SourceFile
from autogrow.data.official_files import stream_members
from autogrow.errors import DataError

from .official_files import md5, tar_bytes

WANTED = SourceFile(path="folder/wanted", max_bytes=10, md5=md5(b"content"))


def members(path, content):
    path.write_bytes(content)
    return {source.path: content for source, content in stream_members(path, [WANTED], dataset="cifar10")}


def test_only_listed_members_are_read(tmp_path):
    content = tar_bytes({"../../outside": b"evil", "folder/other": b"x" * 1000, "folder/wanted": b"content"})
    assert members(tmp_path / "a.tar.gz", content) == {"folder/wanted": b"content"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_member_above_its_limit_is_not_read(tmp_path):
    with pytest.raises(DataError, match="claims 11 bytes, expected at most 10"):
        members(tmp_path / "a.tar.gz", tar_bytes({"folder/wanted": b"x" * 11}))


def test_a_member_with_another_md5(tmp_path):
    with pytest.raises(DataError, match=f"md5 is {md5(b'other')}, expected {WANTED.md5}"):
        members(tmp_path / "a.tar.gz", tar_bytes({"folder/wanted": b"other"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_regular_file(kind, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("folder/wanted")
        info.type, info.linkname = kind, "/etc/hostname"
        archive.addfile(info)
    with pytest.raises(DataError, match="is no regular file"):
        members(tmp_path / "a.tar.gz", buffer.getvalue())


@pytest.mark.parametrize("damage", [lambda content: content[:60], lambda content: b"no archive", lambda content: b""])
def test_a_damaged_archive(damage, tmp_path):
    content = damage(tar_bytes({"folder/other": bytes(range(256)) * 40, "folder/wanted": b"content"}))
    with pytest.raises(DataError, match=r"a\.tar\.gz: damaged archive .*autogrow data fetch cifar10"):
        members(tmp_path / "a.tar.gz", content)
