"""Outputs that appear whole or not at all."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vae3d_cli.errors import OutputError
from vae3d_cli.files import OutputGroup, atomic_output, check_output, spool_folder


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


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("links_fail_with", [None, errno.EPERM, errno.ENOTSUP])
def test_a_file_that_has_come_meanwhile_is_kept_unless_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links_fail_with: int | None
) -> None:
    if links_fail_with:
        monkeypatch.setattr(os, "link", failing(links_fail_with))
    path = tmp_path / "out"

    def write(data: bytes) -> None:
        with atomic_output(path, overwrite=False) as temporary:
            temporary.write_bytes(data)

    write(b"first")
    with pytest.raises(OutputError, match="out: a file of this name has appeared since the run began and was kept"):
        write(b"second")
    assert path.read_bytes() == b"first"
    if links_fail_with is None:
        write(b"first")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP])
def test_what_a_mount_does_not_know_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, overwrite: bool
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    monkeypatch.setattr(Path, "chmod", failing(errno.EPERM if number == errno.EINVAL else number))
    with atomic_output(tmp_path / "out", overwrite=overwrite) as temporary:
        temporary.write_bytes(b"data")
    assert (tmp_path / "out").read_bytes() == b"data"


@pytest.mark.parametrize(("function", "number"), [("fsync", errno.EIO), ("fsync", errno.EPERM), ("chmod", errno.EIO)])
def test_what_fails_on_a_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    monkeypatch.setattr(os if function == "fsync" else Path, function, failing(number))
    with pytest.raises(OutputError, match=os.strerror(number)), atomic_output(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_mount_that_renames_no_open_file_gets_a_closed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    replace = Path.replace

    def replace_closed(path: Path, target: Path) -> Path:
        if path in [name.resolve() for name in Path("/proc/self/fd").iterdir()]:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replace_closed)
    monkeypatch.setattr(os, "link", failing(errno.ENOSYS))
    with atomic_output(tmp_path / "out", overwrite=overwrite) as temporary:
        temporary.write_bytes(b"data")
    assert (tmp_path / "out").read_bytes() == b"data"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
