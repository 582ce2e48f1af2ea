"""Copies the package, with the probes' call sites or without: what is compared is what they cost when nobody looks.

Cut out is what tests a mask of probes (``if mask & SCSI_COMMAND:``, ``if mask:``, ``probes.mask and ...``) and the
local that holds the mask where nothing else uses it. Both copies go through the same unparser, so that they differ in
nothing else.
"""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

BITS = {
    node.target.id
    for node in ast.parse((Path(__file__).resolve().parent.parent / "iscsitools/probes/firing.py").read_text()).body
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.isupper()
}


def is_mask(node: ast.expr) -> bool:
    """``probes.mask``, of whatever holds the probes."""
    if not isinstance(node, ast.Attribute) or node.attr != "mask":
        return False
    owner = node.value
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    return name.lstrip("_") == "probes"


def is_off(test: ast.expr) -> bool:
    """The test is false whenever no probe is enabled."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return any(is_off(value) for value in test.values)
    if isinstance(test, ast.BinOp) and isinstance(test.op, ast.BitAnd):
        holds_mask = is_mask(test.left) or (isinstance(test.left, ast.Name) and test.left.id == "mask")
        return holds_mask and any(isinstance(n, ast.Name) and n.id in BITS for n in ast.walk(test.right))
    return is_mask(test) or (isinstance(test, ast.Name) and test.id == "mask")


class Cutter(ast.NodeTransformer):
    """Takes the call sites out of a module and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if is_off(node.test):
            self.count += 1
            return node.orelse
        node.body = node.body or [ast.Pass()]
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        if is_off(node.test):
            self.count += 1
            return node.orelse
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Or):
            kept = [value for value in node.values if not is_off(value)]
            self.count += len(node.values) - len(kept)
            node.values = kept
            return kept[0] if len(kept) == 1 else node
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        loads = [n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id == "mask"]
        if not any(isinstance(n.ctx, ast.Load) for n in loads):
            DropMask().visit(node)
        node.body = node.body or [ast.Pass()]
        return node


class DropMask(ast.NodeTransformer):
    """Takes ``mask = probes.mask`` out of a function that has no use for it any more."""

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == "mask" and is_mask(node.value):
            return None
        return node


def copy_package(package: Path, to: Path, cut: bool) -> int:
    """Copy ``package`` into ``to``; returns how many call sites were cut."""
    shutil.copytree(package, to / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    count = 0
    for path in sorted((to / package.name).rglob("*.py")):
        tree = ast.parse(path.read_text())
        if cut and path.relative_to(to / package.name).parts[0] in ("iscsi", "scsi"):
            cutter = Cutter()
            tree = ast.fix_missing_locations(cutter.visit(tree))
            count += cutter.count
        path.write_text(ast.unparse(tree))
    return count
