from __future__ import annotations

from iscsitools.iscsi.errors import LoginError, ProtocolError, RejectError
from iscsitools.wire.rfc7143 import LoginStatus, RejectReason


def test_login_status_is_class_and_detail():
    status = LoginError(LoginStatus.SESSION_DOES_NOT_EXIST, "gone").status
    assert divmod(status, 256) == (2, 10)
    assert {divmod(s, 256) for s in LoginStatus} == {
        (0, 0), (1, 1), (1, 2), *((2, detail) for detail in range(12)), (3, 0), (3, 1), (3, 2),
    }  # fmt: skip


def test_reject_reasons_are_those_of_the_standard():
    assert {r.value for r in RejectReason} == {2, 3, 4, 5, 6, 7, 8, 9, 10, 12}
    error = RejectError(RejectReason.PROTOCOL_ERROR, "why")
    assert (error.reason, str(error)) == (4, "why")


def test_messages_are_one_printable_line():
    assert str(ProtocolError("a\nb \x1b[0m \u00fc")) == "a\\x0ab \\x1b[0m \u00fc"
    assert len(str(LoginError(LoginStatus.NOT_FOUND, "\n" * 9000))) == 300
