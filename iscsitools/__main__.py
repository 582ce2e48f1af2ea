"""``python -m iscsitools``: the same as the ``iscsitools`` command."""

from iscsitools.cli.main import main

main()
