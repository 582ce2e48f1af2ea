from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from iscsitools.backstores.base import BackstoreError
from iscsitools.backstores.system_modules import import_system_module

sys.path.insert(0, str(Path(__file__).parent))  # for nbd_server, however pytest imports tests


@pytest.fixture(autouse=True)
def binding() -> None:
    """libnbd's module, which every test needs; without it tests are skipped, or fail where all has to be there."""
    try:
        import_system_module("nbd", "libnbdmod", package="python3-libnbd")
    except BackstoreError as error:
        if os.environ.get("ISCSITOOLS_REQUIRE_TOOLS") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
