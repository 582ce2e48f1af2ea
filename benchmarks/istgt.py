"""istgt as a peer."""

from __future__ import annotations

from cases import Setting
from loadgen import Endpoint
from peer import IQN, Place, Spawned, find, free_port

ISTGT_CONFIGURATION = """
[Global]
  NodeBase "iqn.2026-11.example"
  PidFile {directory}/istgt.pid
  AuthFile {directory}/istgt-auth.conf
  MediaDirectory {directory}
  LogFacility "local7"
  Timeout 30
  NopInInterval 20
  DiscoveryAuthMethod None
  MaxSessions 32
  MaxConnections 4
  MaxR2T 32
  MaxOutstandingR2T 16
  DefaultTime2Wait 2
  DefaultTime2Retain 60
  FirstBurstLength 262144
  MaxBurstLength 262144
  MaxRecvDataSegmentLength 262144
  # istgt's own example says that No is not supported; whole writes go as immediate data here
  InitialR2T Yes
  ImmediateData Yes
  DataPDUInOrder Yes
  DataSequenceInOrder Yes
  ErrorRecoveryLevel 0
[UnitControl]
  AuthMethod None
  Portal UC1 127.0.0.1:{control_port}
  Netmask 127.0.0.0/8
[PortalGroup1]
  Portal DA1 127.0.0.1:{port}
[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask 127.0.0.0/8
[LogicalUnit1]
  TargetName "{iqn}"
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod None
  UseDigest Auto
  UnitType Disk
  QueueDepth 64
  LUN0 Storage {disk} Auto
"""


class Istgt(Spawned):
    """istgt in the foreground with a configuration of its own."""

    name = "istgt"
    settings = frozenset({Setting.CACHED, Setting.COLD})

    def start(self, place: Place) -> list[Endpoint]:
        port, directory, disk = free_port(), place.directory, place.disk
        configuration = directory / "istgt.conf"
        text = ISTGT_CONFIGURATION.format(directory=directory, port=port, control_port=free_port(), iqn=IQN, disk=disk)
        configuration.write_text(text)
        authentication = directory / "istgt-auth.conf"
        authentication.touch(mode=0o600)
        self.spawn([find("istgt", "istgt"), "-D", "-c", str(configuration)], directory, place.cpu)
        self.wait_for_port(port)
        return [Endpoint("127.0.0.1", port, IQN, 0, self.process.pid)]
