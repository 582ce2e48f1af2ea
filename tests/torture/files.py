"""What files may be on a disk after its power was cut, by what the one who wrote them has said."""

from __future__ import annotations

from dataclasses import dataclass, field

ABSENT = "absent"
ANY = "any"


@dataclass
class Files:
    """By file: the digests that it may have; ABSENT when it may be missing, ANY when its content is being changed.

    ``found``: what is there now. ``synced``: how often one became durable.
    """

    allowed: dict[str, set[str]] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    synced: int = 0

    def heard(self, line: str) -> None:
        """One line of tests/torture/guest_files.py."""
        what, *words = line.split(" ") if line else [""]
        match what:
            case "synced":
                self.allowed[words[0]] = {words[1]}
                self.synced += 1
            case "replacing":
                self._may_be(words[0]).add(words[1])
            case "changing":
                self._may_be(words[0]).add(ANY)
            case "removing":
                self._may_be(words[0]).add(ABSENT)
            case "removed":
                self.allowed[words[0]] = {ABSENT}
            case "found":
                self.found[words[0]] = words[1]

    def _may_be(self, name: str) -> set[str]:
        """What a file may have; one of which nothing durable was said may have anything, and may be missing."""
        return self.allowed.setdefault(name, {ABSENT, ANY})

    def wrong(self) -> list[str]:
        """The files that are not as they may be. What was never said to be durable may be anything."""
        lines = []
        for name, allowed in sorted(self.allowed.items()):
            found = self.found.get(name, ABSENT)
            if found not in allowed and (found == ABSENT or ANY not in allowed):
                lines.append(f"{name}: {found[:12]}, not {' or '.join(sorted(each[:12] for each in allowed))}")
        return lines

    def restart(self) -> None:
        """Go on from what was found: it was read after the power was back, so it is durable."""
        self.allowed = {name: {digest} for name, digest in self.found.items()}
        self.found.clear()
