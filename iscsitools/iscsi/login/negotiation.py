"""Negotiation of operational keys for one login (RFC 7143 6.2, 13): offers in, answers and parameters out.

Rules, beside each key's own in ``keys.py``:

- A key that is not in the table is answered NotUnderstood; one that means nothing in this session, Irrelevant; a value
  that is out of range, or a key at a stage or on a connection where it has no place, Reject, and the default stays.
- A key is negotiated once in a login; one that came too early was rejected, and may come again in its stage. A
  declaration may be repeated with the same value, as libiscsi does.
- ``Reject``, ``Irrelevant`` and ``NotUnderstood`` are answers, never offers.
- Where the default would go beyond our limits and the initiator did not offer the key, we offer it and the login does
  not end before the answer. DefaultTime2Retain is never offered: a default that is longer than ours binds us to
  nothing, since at error recovery level 0 no task outlives its connection.
"""

from __future__ import annotations

from typing import Final

from iscsitools.iscsi.errors import LoginError, TextError
from iscsitools.iscsi.login.parameters import (
    NegotiationLimits,
    Parameters,
    Value,
    encode,
    in_range,
    result_of,
    values_of,
)
from iscsitools.iscsi.login.precedents import Outcome
from iscsitools.wire.keys import KEYS, Rule, Side, TextKey
from iscsitools.wire.rfc7143 import LoginStatus

REJECT: Final = "Reject"
IRRELEVANT: Final = "Irrelevant"
NOT_UNDERSTOOD: Final = "NotUnderstood"
ANSWERS_ONLY: Final = frozenset({REJECT, IRRELEVANT, NOT_UNDERSTOOD})

# Members of an Enum under names of their own: to look one up in its class is a function call, and there are ten of them
# for each key of each login.
_DECLARATIVE: Final = Rule.DECLARATIVE
_OBSOLETE: Final = Rule.OBSOLETE
_AUTHENTICATION: Final = Rule.AUTHENTICATION


_NOTHING_SAID: Final[Outcome] = (), {}, frozenset(), values_of(Parameters())


def bad(message: str) -> LoginError:
    """The error for a negotiation that breaks the rules (RFC 7143 7.12)."""
    return LoginError(LoginStatus.INITIATOR_ERROR, message)


class Negotiator:
    """The operational keys of one connection's login. ``leading``: it is the first connection of its session."""

    __slots__ = (
        "_declared", "_declared_length", "_limits", "_offered", "_outcome", "_parameters", "_said", "_seen",
        "discovery", "leading",
    )  # fmt: skip

    def __init__(self, limits: NegotiationLimits, *, discovery: bool = False, leading: bool = True) -> None:
        self._outcome: Outcome | None = _NOTHING_SAID
        """What has come of all that was said, where the three below do not have it yet (:meth:`_unfold`)."""
        self._declared: dict[str, str]
        self._seen: set[str]
        self._parameters: Parameters
        self.discovery = discovery
        self.leading = leading
        self._limits = limits
        self._offered: dict[str, Value] = {}
        self._said: tuple[object, ...] | None = (discovery, leading)
        """All that has decided what was agreed on so far; None: offers of ours, too."""
        self._declared_length = False

    def _unfold(self) -> None:
        """Have the outcome at hand as objects of this negotiation, which may change them."""
        if self._outcome is not None:
            _, declared, seen, values = self._outcome
            self._declared, self._seen, self._parameters = declared.copy(), set(seen), Parameters(*values)
            self._outcome = None

    @property
    def declared(self) -> dict[str, str]:
        """What the initiator declared, by key: names, aliases, session type."""
        self._unfold()
        return self._declared

    @property
    def parameters(self) -> Parameters:
        """What was agreed on so far."""
        self._unfold()
        return self._parameters

    @property
    def settled(self) -> bool:
        """No offer of ours waits for its answer."""
        return not self._offered

    def receive(self, pairs: list[tuple[str, str]], stage: int) -> list[tuple[str, str]]:
        """Apply what the initiator said in one logical text data segment and give the answers, in its order.

        Authentication keys are for ``authentication.py``; one that comes here came at the wrong stage. ``stage``: one
        of :class:`When`. Raises LoginError for what RFC 7143 calls a protocol error.

        Initiators say the same in each of their logins: what that came to is known, and taken over. It is a third of
        what a login costs.
        """
        if self._said is None:
            return self._negotiate(pairs, stage)
        self._said = (*self._said, stage, *pairs)
        known = self._limits.precedents.find(self._said)
        if known is None:
            answers = self._negotiate(pairs, stage)
            known = tuple(answers), self._declared.copy(), frozenset(self._seen), values_of(self._parameters)
            self._limits.precedents.keep(self._said, known)
        self._outcome = known
        return list(known[0])

    def _negotiate(self, pairs: list[tuple[str, str]], stage: int) -> list[tuple[str, str]]:
        self._unfold()
        answers: dict[str, str | None] = {}
        first_burst = None
        for name, value in pairs:
            if name == "FirstBurstLength":
                # It depends on InitialR2T, ImmediateData and MaxBurstLength: it is decided after them.
                answers[name], first_burst = None, value
            else:
                answers[name] = self._receive_one(name, value, stage)
        if first_burst is not None:
            answers["FirstBurstLength"] = self._receive_one("FirstBurstLength", first_burst, stage)
        return [(name, answer) for name, answer in answers.items() if answer is not None]

    def _receive_one(self, name: str, value: str, stage: int) -> str | None:
        key = KEYS.get(name)
        if key is not None and name in self._offered:
            self._accept_answer(key, value)
            return None
        if value in ANSWERS_ONLY:
            raise bad(f"{name}={value} is an answer, and nothing was offered")
        if key is None:
            return NOT_UNDERSTOOD
        if not key.sender & Side.INITIATOR:
            raise bad(f"an initiator may not send {name}")
        if key.rule is _DECLARATIVE:
            self._declare(key, value, stage)
            return None
        if name in self._seen:
            raise bad(f"{name} is negotiated a second time")
        if key.when & stage:
            self._seen.add(name)
        return self._answer(key, value, stage)

    def _declare(self, key: TextKey, value: str, stage: int) -> None:
        if not key.when & stage:
            raise bad(f"{key.name} may not be sent at this stage")
        if self._declared.setdefault(key.name, value) != value:
            raise bad(f"{key.name} is declared a second time, differently")
        if key.name == "MaxRecvDataSegmentLength":
            self._parameters.initiator_max_recv_data_segment_length = declared_length(value)

    def _answer(self, key: TextKey, value: str, stage: int) -> str:
        if key.rule is _OBSOLETE:
            # RFC 7143 13.25 allows No for the marker keys; initiators of RFC 3720 take a Reject for a failure.
            return "No" if key.name.endswith("Marker") else REJECT
        if key.rule is _AUTHENTICATION or not key.when & stage or (key.leading and not self.leading):
            return REJECT
        if self._irrelevant(key):
            return IRRELEVANT
        try:
            result = result_of(self._limits, key, value)
        except TextError:
            return REJECT
        if result is None:
            return self._refuse(key)
        self._store(key, result)
        return encode(result)

    def _irrelevant(self, key: TextKey) -> bool:
        if key.normal_only and self.discovery:
            return True
        p = self._parameters
        return key.name == "FirstBurstLength" and p.initial_r2t and not p.immediate_data

    def _refuse(self, key: TextKey) -> str:
        """Nothing offered was acceptable: Reject leaves the default, so that must be acceptable (RFC 7143 7.12)."""
        if key in self._limits.beyond:
            raise bad(f"no offered value of {key.name} is acceptable")
        return REJECT

    def _store(self, key: TextKey, result: Value) -> None:
        if key.attribute in ("header_digest", "data_digest"):
            result = result != "None"
        setattr(self._parameters, key.attribute, result)

    @property
    def unsettled(self) -> list[str]:
        """The keys that :meth:`offer` would offer: what the initiator left at a default beyond our limits."""
        if not self._limits.beyond:
            return []
        self._unfold()
        return [
            key.name
            for key in self._limits.beyond
            if key.name not in self._seen and not (key.leading and not self.leading) and not self._irrelevant(key)
        ]

    def declare(self) -> list[tuple[str, str]]:
        """Our declaration of MaxRecvDataSegmentLength, once per login."""
        if self._declared_length:
            return []
        self._declared_length = True
        return [("MaxRecvDataSegmentLength", str(self._limits.max_recv_data_segment_length))]

    def offer(self) -> list[tuple[str, str]]:
        """Offer what the initiator left at a default beyond our limits; afterwards ``settled`` says if answers lack."""
        for name in self.unsettled:
            self._said = None
            ours = getattr(self._limits, KEYS[name].attribute)
            self._seen.add(name)
            self._offered[name] = ",".join(ours) if isinstance(ours, tuple) else ours
        return [(name, encode(ours)) for name, ours in self._offered.items()]

    def _accept_answer(self, key: TextKey, value: str) -> None:
        ours = self._offered.pop(key.name)
        if value == IRRELEVANT:
            return
        try:
            result = result_of(self._limits, key, value)
        except TextError as error:
            raise bad(f"{key.name}={value} does not answer {encode(ours)}") from error
        if result is None or encode(result) != value:
            raise bad(f"{key.name}={value} does not answer {encode(ours)}")
        self._store(key, result)

    def finish(self) -> Parameters:
        """The parameters; FirstBurstLength is brought down to MaxBurstLength (RFC 7143 13.14)."""
        p = self.parameters
        if self._declared_length:
            p.max_recv_data_segment_length = self._limits.max_recv_data_segment_length
        p.first_burst_length = min(p.first_burst_length, p.max_burst_length)
        return p


def declared_length(value: str) -> int:
    """Read an initiator's MaxRecvDataSegmentLength in bytes; LoginError when it is out of range."""
    try:
        return in_range(KEYS["MaxRecvDataSegmentLength"], value)
    except TextError as error:
        raise bad(str(error)) from error
