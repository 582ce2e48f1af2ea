"""Names of images, and what needs no Ceph."""

from __future__ import annotations

import pytest
from iscsitools.backstores.base import BackstoreError

from iscsitools_rbd import ceph
from iscsitools_rbd.backstore import RbdBackstore
from iscsitools_rbd.names import ImageName


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rbd/disk", ("rbd", "", "disk", "")),
        ("rbd/disk@before", ("rbd", "", "disk", "before")),
        ("pool/space/disk", ("pool", "space", "disk", "")),
        ("pool/space/disk@s", ("pool", "space", "disk", "s")),
    ],
)
def test_a_name_is_read_and_written(text: str, name: tuple[str, ...]) -> None:
    assert ImageName.parse(text) == name
    assert str(ImageName.parse(text)) == text


@pytest.mark.parametrize("text", ["", "disk", "/disk", "rbd/", "rbd/disk@", "rbd/disk@a@b", "a/b/c/d", "@s"])
def test_what_is_no_name_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BackstoreError, match=r"^rbd: '.*' is no image's name: it is POOL/IMAGE[^\n]*$"):
        RbdBackstore(text)


@pytest.mark.parametrize("option", ["wait", "connect_wait"])
def test_a_time_of_nothing_is_refused(option: str) -> None:
    with pytest.raises(BackstoreError, match="more than 0"):
        RbdBackstore("rbd/disk", **{option: 0.0})


def test_missing_bindings_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, *parts: str, package: str) -> None:
        raise BackstoreError(f"the module {name} is missing: install the distribution's package {package}")

    monkeypatch.setattr(ceph, "import_system_module", absent)
    with pytest.raises(BackstoreError, match="install the distribution's package python3-rados"):
        RbdBackstore("rbd/disk").open()
