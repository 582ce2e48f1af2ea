"""The examples of the documentation, as modules that run."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType


def examples(project: Path, page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (project / "docs" / page).read_text(), re.DOTALL)


def module_of(code: str) -> ModuleType:
    module = ModuleType("example")
    exec(compile(code, "example", "exec"), module.__dict__)
    return module
