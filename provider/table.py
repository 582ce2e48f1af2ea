"""Write the probe table as a C header, from its one statement in ``iscsitools/probes/table.py``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_SOURCE = Path(__file__).resolve().parent.parent / "iscsitools" / "probes" / "table.py"


def _load() -> ModuleType:
    """Load the table by its file: a build environment does not have the package."""
    spec = importlib.util.spec_from_file_location("probe_table", _SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def header() -> str:
    """The header's text: FOR_EACH_PROBE(X) with X(number, c_name), and FIELDS, where each number stands in a BHS."""
    table = _load()
    probes = table.PROVIDER_PROBES
    lines = [
        "/* Made from iscsitools/probes/table.py. */",
        "#include <stdint.h>",
        f"#define PROBE_COUNT {len(probes)}",
        f"#define PROBE_SCSI_COMMAND {table.Probe.SCSI_COMMAND:d}",
        f"#define PROBE_DATA_SEND {table.Probe.DATA_SEND:d}",
        f"#define PLACE_ZERO ({table.ZERO})",
        f"#define RESERVED_TAG {table.RESERVED_TAG:#x}u",
        f"#define DATA_STATUS {table.DATA_STATUS:#x}",
        "#define FOR_EACH_PROBE(X) " + " ".join(f"X({p:d}, {p.name.lower()})" for p in probes),
        "struct fields { int8_t itt, ttt, cmdsn, statsn, datasn, datalen, flags; };",
        "static const struct fields FIELDS[PROBE_COUNT] __attribute__((unused)) = {",
    ]
    for probe, fields in table.FIELDS.items():
        if probe in probes:
            lines.append(f"    [{probe:d}] = {{{', '.join(str(int(f)) for f in fields)}}}, /* {probe.label} */")
    return "\n".join([*lines, "};", ""])
