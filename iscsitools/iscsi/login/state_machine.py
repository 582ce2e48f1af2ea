"""The login phase of one connection (RFC 7143 6.3, 11.12, 11.13). Everything that affects its state is here.

Stages: SecurityNegotiation (0) -> LoginOperationalNegotiation (1) -> FullFeaturePhase (3).

- The first request says where it begins: 0, or 1 where no authentication is required. CSG of every later request is
  the stage that was reached. NSG counts only with the T bit, and must be a later stage.
- The first complete text names the initiator, the session type and, in a normal session, the target.
- ISID, TSIH and CID stay what they were in the first request.
- A stage is left when the initiator asks for it (T) and we agree (T): in stage 0 when authentication is complete, in
  stage 1 when every offer of ours is answered. Until then we answer with T=0 and the stage goes on. A request to leave
  stage 0 without having begun a required authentication fails.
- From stage 0 straight to 3 only when there is nothing that we would have to offer in stage 1: else we answer with T=0,
  and a second request for it fails.
- A CHAP name belongs to the session that it began: no other one takes its place, or a connection's place in it.
- A CHAP response is looked at only while neither its address nor its name was wrong too often of late.
- C in a request: more text follows. It excludes T; it is answered by an empty response. C in our response: the
  initiator sends empty requests until it has all of our text.
- Any failure is one Login Response with its status, after which the connection is closed. There are no retries.
- Requests, and bytes of one logical text, are bounded; time is bounded by who feeds this engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from iscsitools.iscsi import text_pairs as text
from iscsitools.iscsi.errors import LoginError, ProtocolError, TextError
from iscsitools.iscsi.login.authentication import Authentication
from iscsitools.iscsi.login.chap import Challenges, ChapExchange
from iscsitools.iscsi.login.messages import Admission, LoginPending, LoginReply, LoginRequest, LoginResult
from iscsitools.iscsi.login.negotiation import Negotiator, bad
from iscsitools.iscsi.login.parameters import NegotiationLimits
from iscsitools.iscsi.login.policy import AuthPolicy, Directory, Portal, TargetNode
from iscsitools.wire.keys import KEYS, Rule, When
from iscsitools.wire.names import MAX_NAME, fold_name
from iscsitools.wire.rfc7143 import LoginStatus, Stage

_AUTHENTICATION_KEYS: Final = frozenset(key.name for key in KEYS.values() if key.rule is Rule.AUTHENTICATION)
MAX_REQUESTS: Final = 128
"""Login Requests in one login; 64 KiB of text in 512-byte pieces, or any exchange that exists, takes fewer."""
LOGIN_DATA: Final = 8192
"""Bytes of a data segment in the login phase: MaxRecvDataSegmentLength's default (RFC 7143 13.12)."""

_WHEN: Final[dict[int, int]] = {0: When.SECURITY, 1: When.OPERATIONAL}
"""Keys of which time belong into each stage."""
_STAGES: Final = {stage.value: stage for stage in Stage}
"""By number: a class of numbers that is called for a member takes six times as long."""
_OPEN: Final = AuthPolicy()
"""The policy of a login that has not said yet what it wants."""


class LoginEngine:
    """One connection's login: feed it each Login Request, send what it returns.

    ``local``: the address at which the connection came in, ``address``: the initiator's IP address.
    ``random_bytes(n)``: n unpredictable bytes. ``challenges``:
    those of the whole server. Call :meth:`end` when the connection is gone.
    """

    def __init__(
        self,
        directory: Directory,
        limits: NegotiationLimits,
        admission: Admission,
        local: Portal,
        random_bytes: Callable[[int], bytes],
        challenges: Challenges,
        address: str = "",
    ) -> None:
        self.initiator = ""
        self.target: TargetNode | None = None
        self._directory = directory
        self._limits = limits
        self._admission = admission
        self._local = local
        self._address = address
        self._group = 1
        """The portal group at which the initiator came in."""
        self._first: LoginRequest | None = None
        self._stage = Stage.SECURITY
        self._requests = 0
        self._received = bytearray()
        self._to_send: deque[bytes] = deque()
        self._agreed = False
        self._negotiator: Negotiator | None = None
        self._policy = _OPEN
        # Not a method of this object: that would tie each login into a circle, for the garbage collector to find.
        self._begin_exchange = partial(
            ChapExchange, random_bytes=random_bytes, challenges=challenges, is_mutual_secret=directory.is_mutual_secret
        )
        self._auth = Authentication(_OPEN, self._begin_exchange)
        self._held_back = False
        self._pending: tuple[LoginRequest, list[tuple[str, str]]] | None = None
        self._ended = False

    def on_request(self, bhs: bytes, data: bytes) -> LoginReply | LoginPending:
        """Take a Login Request: its 48-byte header and its data segment, without padding.

        A login that must fail gives a reply with its status. ProtocolError: no reply is possible, drop the connection.
        """
        if self._ended or self._pending is not None:
            raise ProtocolError("a Login Request where none is expected")
        request = LoginRequest.parse(bhs)
        reply: LoginReply | LoginPending
        try:
            reply = self._on_request(request, data)
        except (TextError, LoginError) as error:
            reply = LoginReply.failed(request, error)
        return reply if isinstance(reply, LoginPending) else self._replied(reply)

    def provide_secret(self, secret: bytes | None) -> LoginReply:
        """Go on after LoginPending; None: there is no such user."""
        if self._pending is None:
            raise ProtocolError("no secret is wanted")
        request, answers = self._pending
        self._pending = None
        try:
            reply = self._compose(request, answers + self._judge(secret))
        except (TextError, LoginError) as error:
            reply = LoginReply.failed(request, error)
        return self._replied(reply)

    def _replied(self, reply: LoginReply) -> LoginReply:
        reply.user = self._auth.user
        if reply.done:
            self.end()
        return reply

    def end(self) -> None:
        """The login is over: it succeeded, failed, or its connection is gone."""
        self._ended = True
        self._auth.end()

    def _on_request(self, request: LoginRequest, data: bytes) -> LoginReply | LoginPending:
        self._check(request)
        if self._to_send:
            if data:
                raise bad("text before all of ours was sent")
            return self._send(request)
        if len(self._received) + len(data) > text.MAX_TEXT:
            raise bad(f"more than {text.MAX_TEXT} bytes of text")
        self._received += data
        if request.more:
            return LoginReply(csg=request.csg, tsih=request.tsih)
        pairs = text.parse_pairs(bytes(self._received))
        self._received.clear()
        return self._process(request, pairs)

    def _check(self, request: LoginRequest) -> None:
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            raise bad(f"more than {MAX_REQUESTS} Login Requests")
        if request.version_min > 0:
            raise LoginError(LoginStatus.UNSUPPORTED_VERSION, f"version {request.version_min} or later is wanted")
        first = self._first
        if first is None:
            if request.csg not in _WHEN:
                raise bad(f"a login cannot begin at stage {request.csg}")
            self._first = request
            self._stage = _STAGES[request.csg]
        elif (request.isid, request.tsih, request.cid) != (first.isid, first.tsih, first.cid):
            raise bad("ISID, TSIH or CID changed during login")
        if request.csg != self._stage:
            raise bad(f"stage {request.csg}, expected {self._stage.value}")
        if request.transit and (request.more or request.nsg <= request.csg or request.nsg == 2):
            raise bad(f"transit from stage {request.csg} to {request.nsg}, C={request.more:d}")

    def _process(self, request: LoginRequest, pairs: list[tuple[str, str]]) -> LoginReply | LoginPending:
        answers: list[tuple[str, str]] = []
        if self._negotiator is None:
            self._negotiator = self._identify(request, dict(pairs))
            answers += self._introduction()
        secure: dict[str, str] = {}
        if self._stage is Stage.SECURITY:
            secure = {name: value for name, value in pairs if name in _AUTHENTICATION_KEYS}
        operational = [pair for pair in pairs if pair[0] not in secure]
        answers += self._negotiator.receive(operational, _WHEN[self._stage])
        proof = self._auth.receive(secure)
        if proof is None:
            self._admission.may_try(self._auth.user)
            lookup = self._policy.secret_for
            assert lookup is not None
            if self._policy.deferred:
                self._pending = request, answers
                return LoginPending(self.initiator, self._auth.user, lookup)
            proof = self._judge(lookup(self.initiator, self._auth.user))
        return self._compose(request, answers + proof)

    def _judge(self, secret: bytes | None) -> list[tuple[str, str]]:
        """Judge the CHAP response by the user's secret (None: there is no such user); our proof, if one was asked."""
        user = self._auth.user
        try:
            proof = self._auth.verify(secret)
        except LoginError:
            self._admission.judged(user, right=False)
            raise
        self._admission.judged(user, right=True)
        if not self._policy.admits(self.initiator, user):
            raise LoginError(LoginStatus.AUTHORIZATION_FAILURE, f"{user} may not be used by {self.initiator}")
        return proof

    def _identify(self, request: LoginRequest, keys: dict[str, str]) -> Negotiator:
        """Find out who logs in to what, and by which policy (RFC 7143 6.3, 11.12.6, 11.12.7)."""
        initiator = fold_name(keys.get("InitiatorName", ""))
        if not initiator:
            raise LoginError(LoginStatus.MISSING_PARAMETER, "no InitiatorName")
        if len(initiator.encode()) > MAX_NAME or " " in initiator or not initiator.isprintable():
            raise bad(f"InitiatorName={initiator[:80]} is no iSCSI name")
        self.initiator = initiator  # only now: logs and probes show it as it is
        session_type = keys.get("SessionType", "Normal")
        if session_type not in ("Normal", "Discovery"):
            raise LoginError(LoginStatus.SESSION_TYPE_NOT_SUPPORTED, f"SessionType={session_type[:80]}")
        discovery = session_type == "Discovery"
        self._policy = self._directory.discovery_auth
        if not discovery:
            if not keys.get("TargetName"):
                raise LoginError(LoginStatus.MISSING_PARAMETER, "no TargetName in a normal session")
            self.target = self._directory.admit(keys["TargetName"], self.initiator, self._local, self._address)
            self._policy = self.target.auth
            self._group = self._directory.group_at(self.target, self._local)
        if self._policy.required and self._stage is not Stage.SECURITY:
            raise LoginError(LoginStatus.AUTHENTICATION_FAILURE, "authentication is required, and was left out")
        if request.tsih:
            self._admission.join(self.initiator, request.isid, self.target, request.tsih, request.cid, self._group)
        self._auth = Authentication(self._policy, self._begin_exchange)
        return Negotiator(self._limits, discovery=discovery, leading=not request.tsih)

    def _introduction(self) -> list[tuple[str, str]]:
        """What the first response of a normal session says of the target (RFC 7143 13.6, 13.9)."""
        if self.target is None:
            return []
        answers = [("TargetPortalGroupTag", str(self._group))]
        if self.target.alias:
            answers.append(("TargetAlias", self.target.alias))
        return answers

    def _compose(self, request: LoginRequest, answers: list[tuple[str, str]]) -> LoginReply:
        negotiator = self._negotiator
        assert negotiator is not None
        self._agreed = request.transit
        if self._stage is Stage.SECURITY:
            if request.transit and not self._auth.complete and not self._auth.begun:
                raise LoginError(LoginStatus.AUTHENTICATION_FAILURE, "authentication is required, and was left out")
            self._agreed = request.transit and self._auth.complete and self._may_skip(request, negotiator)
        elif request.transit:
            if not negotiator.settled:
                raise bad("an offer of ours was not answered")
            answers = answers + negotiator.offer()
            self._agreed = negotiator.settled
        if self._stage is Stage.OPERATIONAL or (self._agreed and request.nsg == Stage.FULL_FEATURE):
            answers = answers + negotiator.declare()
        self._to_send.extend(text.split_text(text.encode_pairs(answers), LOGIN_DATA))
        return self._send(request)

    def _may_skip(self, request: LoginRequest, negotiator: Negotiator) -> bool:
        """Whether stage 1 may be left out, if that is what is asked: what has to be offered there cannot be in 0."""
        unsettled = negotiator.unsettled if request.nsg == Stage.FULL_FEATURE else []
        if unsettled and self._held_back:
            raise bad(f"stage 1 is left out, and {', '.join(unsettled)} has to be negotiated there")
        self._held_back = bool(unsettled)
        return not unsettled

    def _send(self, request: LoginRequest) -> LoginReply:
        reply = LoginReply(csg=request.csg, tsih=request.tsih, data=self._to_send.popleft())
        if self._to_send:
            reply.more = True
        elif self._agreed and request.transit:
            reply.transit = True
            reply.nsg = request.nsg
            self._stage = _STAGES[request.nsg]
            if self._stage is Stage.FULL_FEATURE:
                reply.result = self._result(request)
                reply.tsih = reply.result.tsih
        return reply

    def _result(self, request: LoginRequest) -> LoginResult:
        negotiator = self._negotiator
        assert negotiator is not None
        if request.tsih:
            self._admission.join(self.initiator, request.isid, self.target, request.tsih, request.cid, self._group)
            self._admission.owner_of(request.tsih, self._auth.user)
        return LoginResult(
            initiator=self.initiator,
            initiator_alias=negotiator.declared.get("InitiatorAlias", ""),
            isid=request.isid,
            tsih=request.tsih or self._new_tsih(request),
            cid=request.cid,
            target=self.target,
            parameters=negotiator.finish(),
            chap_user=self._auth.user,
            leading=not request.tsih,
            group=self._group,
        )

    def _new_tsih(self, request: LoginRequest) -> int:
        return self._admission.new_tsih(self.initiator, request.isid, self.target, self._auth.user, self._group)
