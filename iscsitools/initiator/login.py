"""Login of an initiator: text keys, both stages, and what was agreed on (RFC 7143 chapters 6 and 13)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from iscsitools.initiator.chap import Chap
from iscsitools.initiator.errors import LoginError, ProtocolError
from iscsitools.initiator.pdu import Pdu, bhs_of
from iscsitools.initiator.pdu_socket import PduSocket
from iscsitools.wire.keys import KEYS
from iscsitools.wire.rfc7143 import SERIAL_MASK, Flag, Opcode, Stage

DEFAULT_OFFERS: Final = {
    "HeaderDigest": "None",
    "DataDigest": "None",
    "MaxRecvDataSegmentLength": "262144",
    "InitialR2T": "No",
    "ImmediateData": "Yes",
    "MaxBurstLength": "262144",
    "FirstBurstLength": "262144",
    "MaxOutstandingR2T": "1",
    "MaxConnections": "1",
    "ErrorRecoveryLevel": "0",
    "DefaultTime2Wait": "2",
    "DefaultTime2Retain": "0",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
}
"""What is offered where the caller says nothing else."""
_MAX_TEXT: Final = 1 << 16
"""Bytes of keys that an answer may have, over all its PDUs: a target does not fill the memory."""


def encode_keys(keys: dict[str, str]) -> bytes:
    """``key=value`` pairs, each ended by a zero byte."""
    return b"".join(f"{key}={value}\0".encode() for key, value in keys.items())


def decode_pairs(data: bytes) -> list[tuple[str, str]]:
    """The pairs in order; a key may be there several times (TargetName, TargetAddress).

    Raises ProtocolError when they are not UTF-8.
    """
    pairs = []
    try:
        texts = data.decode().split("\0")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"keys that are not UTF-8: {error}") from error
    for text in texts:
        if text:
            key, _, value = text.partition("=")
            pairs.append((key, value))
    return pairs


@dataclass
class Agreed:
    """What counts after login. Defaults are those of RFC 7143 chapter 13."""

    answers: dict[str, str] = field(default_factory=dict)
    """Every key that the target sent, its last value."""
    target_segment: int = int(KEYS["MaxRecvDataSegmentLength"].default)
    """The target's MaxRecvDataSegmentLength."""
    first_burst: int = int(KEYS["FirstBurstLength"].default)
    max_burst: int = int(KEYS["MaxBurstLength"].default)
    immediate_data: bool = True
    initial_r2t: bool = True
    header_digest: bool = False
    data_digest: bool = False
    tsih: int = 0
    stat_sn: int = 0
    """The StatSN of the last Login response."""
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0

    def settle(self, offers: dict[str, str]) -> None:
        """Read the outcome of every key from the answers; ProtocolError when it is no number."""
        said = self.answers.get
        segment = "MaxRecvDataSegmentLength"
        self.target_segment = _number(segment, said(segment, KEYS[segment].default))
        self.max_burst = _minimum("MaxBurstLength", offers, self.answers)
        self.first_burst = min(self.max_burst, _minimum("FirstBurstLength", offers, self.answers))
        self.immediate_data = said("ImmediateData", "Yes") == "Yes" and offers.get("ImmediateData", "Yes") == "Yes"
        self.initial_r2t = said("InitialR2T", "Yes") == "Yes" or offers.get("InitialR2T", "Yes") == "Yes"
        self.header_digest = said("HeaderDigest") == "CRC32C"
        self.data_digest = said("DataDigest") == "CRC32C"


def _minimum(key: str, offers: dict[str, str], answers: dict[str, str]) -> int:
    offered = int(offers.get(key, KEYS[key].default))
    answer = answers.get(key, "")
    if not (answer.isascii() and answer.isdigit()):
        return offered  # unanswered, or Irrelevant
    return min(offered, int(answer))


def _number(key: str, said: str) -> int:
    if not (said.isascii() and said.isdigit()):
        raise ProtocolError(f"{key}={said} is no number")
    return int(said)


class InitiatorLogin:
    """The login PDUs of one connection; :meth:`run` does all of them, :meth:`exchange` just one."""

    def __init__(self, wire: PduSocket, isid: int, tsih: int, cid: int, cmd_sn: int) -> None:
        self.wire = wire
        self.isid = isid
        self.cid = cid
        self.cmd_sn = cmd_sn
        self.agreed = Agreed(tsih=tsih)
        self._answered = False

    def exchange(self, csg: int, nsg: int, keys: dict[str, str], transit: bool = True, **fields: int) -> Pdu:
        """Send one Login request and return the answer; ``fields`` replace header fields. Raises LoginError."""
        pdu, _ = self._exchange(csg, nsg, encode_keys(keys), transit, fields)
        return pdu

    def _exchange(
        self, csg: int, nsg: int, data: bytes, transit: bool, fields: dict[str, int]
    ) -> tuple[Pdu, dict[str, str]]:
        self._request(csg, nsg, data, transit, fields)
        text = b""
        while True:
            pdu = self._response()
            text += pdu.data
            if len(text) > _MAX_TEXT:
                raise ProtocolError("an answer without end in login")
            if not pdu.flags & Flag.CONTINUE:
                keys = dict(decode_pairs(text))
                self.agreed.answers |= keys
                return pdu, keys
            self._request(csg, nsg, b"", False, fields)

    def _request(self, csg: int, nsg: int, data: bytes, transit: bool, fields: dict[str, int]) -> None:
        flags = (Flag.TRANSIT | nsg if transit else 0) | csg << 2
        own: dict[str, int] = {
            "flags": flags,
            "isid": self.isid,
            "tsih": self.agreed.tsih,
            "cid": self.cid,
            "cmd_sn": self.cmd_sn,
            "exp_stat_sn": (self.agreed.stat_sn + 1) & SERIAL_MASK if self._answered else 0,
        }
        # Login requests are always immediate (RFC 7143 11.12).
        self.wire.send(bhs_of(Opcode.LOGIN_REQUEST, own | fields, immediate=True), data=data)

    def _response(self) -> Pdu:
        pdu = self.wire.recv()
        if pdu.opcode == Opcode.REJECT:
            raise ProtocolError(f"login rejected, reason 0x{pdu.reason:02x}")
        if pdu.opcode != Opcode.LOGIN_RESPONSE:
            raise ProtocolError(f"opcode 0x{pdu.opcode:02x} during login")
        if pdu.status_class:
            raise LoginError(pdu)
        if self._answered and pdu.stat_sn != (self.agreed.stat_sn + 1) & SERIAL_MASK:
            raise ProtocolError(f"StatSN 0x{pdu.stat_sn:x} after 0x{self.agreed.stat_sn:x} in login")
        self._answered = True
        agreed = self.agreed
        agreed.stat_sn, agreed.exp_cmd_sn, agreed.max_cmd_sn = pdu.stat_sn, pdu.exp_cmd_sn, pdu.max_cmd_sn
        agreed.tsih = pdu.tsih or agreed.tsih
        return pdu

    def run(self, names: dict[str, str], offers: dict[str, str], chap: Chap | None) -> Agreed:
        """Both stages, to the full feature phase."""
        if chap is None:
            self._settle_stage(Stage.SECURITY, Stage.OPERATIONAL, names | {"AuthMethod": "None"})
        else:
            self._authenticate(names, chap)
        self._settle_stage(Stage.OPERATIONAL, Stage.FULL_FEATURE, offers)
        self.agreed.settle(offers)
        self.wire.header_digest = self.agreed.header_digest
        self.wire.data_digest = self.agreed.data_digest
        return self.agreed

    def _authenticate(self, names: dict[str, str], chap: Chap) -> None:
        offer = encode_keys(names | {"AuthMethod": "CHAP"})
        _, said = self._exchange(Stage.SECURITY, Stage.OPERATIONAL, offer, False, {})
        if said.get("AuthMethod") != "CHAP":
            raise ProtocolError(f"AuthMethod={said.get('AuthMethod')} to an offer of CHAP")
        _, said = self._exchange(Stage.SECURITY, Stage.OPERATIONAL, encode_keys({"CHAP_A": chap.algorithms}), False, {})
        pdu, said = self._exchange(Stage.SECURITY, Stage.OPERATIONAL, encode_keys(chap.answer(said)), True, {})
        if not chap.target_is_known(said):
            raise ProtocolError("the target's CHAP response is wrong")
        if not pdu.flags & Flag.TRANSIT:
            self._settle_stage(Stage.SECURITY, Stage.OPERATIONAL, {})

    def _settle_stage(self, csg: int, nsg: int, keys: dict[str, str]) -> None:
        for _ in range(8):
            pdu, _ = self._exchange(csg, nsg, encode_keys(keys), True, {})
            if pdu.flags & Flag.TRANSIT:
                if pdu.flags & 3 != nsg:
                    raise ProtocolError(f"next stage {pdu.flags & 3}, asked for {nsg}")
                return
            keys = {}
        raise ProtocolError(f"stage {csg} does not end")
