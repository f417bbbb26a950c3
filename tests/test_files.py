"""Outputs that appear whole or not at all."""

import os
import threading
from pathlib import Path

import pytest

from vae3d_cli.errors import OutputError
from vae3d_cli.files import OutputGroup, atomic_output, check_output, same_file, spool_folder


def test_the_name_appears_only_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with atomic_output(path) as temporary:
        temporary.write_bytes(b"new")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".mp4"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failed_run_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def fail_half_way() -> None:
        with atomic_output(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_outputs_of_a_group_appear_together(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    with OutputGroup() as group:
        for path in paths:
            with atomic_output(path, group) as temporary:
                temporary.write_bytes(b"new")
        assert not any(path.exists() for path in paths)
    assert sorted(tmp_path.iterdir()) == paths


def test_no_output_of_a_group_appears_where_one_fails(tmp_path: Path) -> None:
    def write(last: str) -> None:
        with OutputGroup() as group:
            with atomic_output(tmp_path / "a", group) as temporary:
                temporary.write_bytes(b"new")
            with atomic_output(tmp_path / last, group) as temporary:
                temporary.write_bytes(b"new")
                if last == "fails":
                    raise OSError(28, os.strerror(28))
                (tmp_path / last).mkdir()  # so that it cannot take its name

    with pytest.raises(OutputError, match="fails: No space left on device"):
        write("fails")
    with pytest.raises(OutputError, match="folder: Is a directory"):
        write("folder")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_full_disk_is_said_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="out: No space left on device"), atomic_output(tmp_path / "out"):
        raise OSError(28, os.strerror(28))
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_has_the_mode_of_the_umask_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch(mode=0o640)
    old.chmod(0o640)
    umask = os.umask(0o027)
    try:
        for path in (new, old):
            with atomic_output(path) as temporary:
                temporary.write_bytes(b"x")
    finally:
        os.umask(umask)
    assert new.stat().st_mode & 0o777 == 0o640
    assert old.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.parent.mkdir()
    target.write_bytes(b"old")
    link.symlink_to(target)
    with atomic_output(link) as temporary:
        temporary.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_fifo_is_written_straight(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    check_output(fifo, overwrite=False)
    with atomic_output(fifo) as path:
        assert path == fifo
        path.write_bytes(b"data")
    reader.join()
    assert received == [b"data"]
    assert fifo.is_fifo()


def test_what_cannot_be_an_output_is_refused_beforehand(tmp_path: Path) -> None:
    existing = tmp_path / "existing"
    existing.touch()
    for path, reason in (
        (existing, "exists already"),
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "out", "there is no folder"),
    ):
        with pytest.raises(OutputError, match=reason):
            check_output(path, overwrite=False)
    check_output(existing, overwrite=True)
    check_output(Path(os.devnull), overwrite=False)


def test_a_spool_lies_beside_a_file_and_elsewhere_for_a_device(tmp_path: Path) -> None:
    assert spool_folder(tmp_path / "out") == tmp_path
    assert spool_folder(Path(os.devnull)) is None
    assert spool_folder(None) is None


def test_two_names_of_one_file_are_the_same(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "b"
    assert not same_file(path, path)  # it does not exist
    path.touch()
    link.symlink_to(path)
    assert same_file(path, link)
