"""Text requests of the full feature phase: SendTargets and the few keys that may still change (RFC 7143 11.10, C)."""

from __future__ import annotations

from typing import Final

from iscsitools.iscsi import text_pairs as text
from iscsitools.iscsi.errors import LoginError, RejectError, TextError
from iscsitools.iscsi.login.negotiation import ANSWERS_ONLY, NOT_UNDERSTOOD, REJECT, declared_length
from iscsitools.iscsi.login.parameters import Parameters
from iscsitools.iscsi.login.policy import Directory, Portal, TargetNode
from iscsitools.wire.keys import KEYS, Rule, Side, TextKey, When
from iscsitools.wire.names import fold_name
from iscsitools.wire.rfc7143 import RejectReason

_LENGTH: Final = "MaxRecvDataSegmentLength"


class TextResponder:
    """Answers the text requests of one session. ``target`` is None in a discovery session.

    ``local``: where the connection came in, ``address``: the initiator's IP address. ``parameters``: the connection's,
    changed by a new declaration when the exchange that has it is complete (RFC 7143 6.4).
    """

    __slots__ = ("_address", "_declared", "_directory", "_initiator", "_local", "_parameters", "_target")

    def __init__(
        self,
        directory: Directory,
        initiator: str,
        target: TargetNode | None,
        local: Portal,
        parameters: Parameters,
        address: str = "",
    ) -> None:
        self._address = address
        self._directory = directory
        self._initiator = initiator
        self._target = target
        self._local = local
        self._parameters = parameters
        self._declared = 0

    def begin(self) -> None:
        """An exchange begins; one before it that is not complete has changed nothing."""
        self._declared = 0

    def complete(self) -> None:
        """The exchange is complete: what was declared in it holds."""
        if self._declared:
            self._parameters.initiator_max_recv_data_segment_length = self._declared

    def answer(self, data: bytes) -> bytes:
        """Answer one logical text data segment; ``text.split_text`` cuts the result for several responses.

        Raises RejectError (PROTOCOL_ERROR), and then nothing of it counts.
        """
        try:
            pairs = text.parse_pairs(data)
            length = next((declared_length(value) for name, value in pairs if name == _LENGTH), None)
        except (TextError, LoginError) as error:
            raise RejectError(RejectReason.PROTOCOL_ERROR, str(error)) from error
        answers = [self._answer_one(name, value) for name, value in pairs]
        if length is not None:
            self._declared = length
        return b"".join(answers)

    def _answer_one(self, name: str, value: str) -> bytes:
        key = KEYS.get(name)
        if value in ANSWERS_ONLY:
            raise RejectError(RejectReason.PROTOCOL_ERROR, f"{name}={value} is an answer, and nothing was offered")
        if key is None:
            return text.encode_pairs([(name, NOT_UNDERSTOOD)])
        if name == "SendTargets":
            return self._directory.kept_answer(
                (self._initiator, self._address, self._target, self._local, value),
                lambda: text.encode_pairs(self._send_targets(value)),
            )
        return b"" if _may_declare(key) else text.encode_pairs([(name, REJECT)])

    def _send_targets(self, value: str) -> list[tuple[str, str]]:
        """All, and any name, in a discovery session; nothing, or its own name, in a normal one (RFC 7143 C)."""
        own = self._target
        if own is None:
            targets = self._directory.visible(self._initiator, self._address)
            if value != "All":
                targets = [target for target in targets if fold_name(target.name) == fold_name(value)]
            allowed = bool(value)
        else:
            targets = [own]
            allowed = not value or fold_name(value) == fold_name(own.name)
        if not allowed:
            return [("SendTargets", REJECT)]
        answers: list[tuple[str, str]] = []
        for target in targets:
            answers.append(("TargetName", target.name))
            answers += [("TargetAddress", address) for address in self._directory.addresses(target, self._local)]
        return answers


def _may_declare(key: TextKey) -> bool:
    return key.rule is Rule.DECLARATIVE and bool(key.when & When.FULL_FEATURE) and bool(key.sender & Side.INITIATOR)
