"""`LocalKafka`: a real Apache Kafka on this machine, without Docker or an installed Kafka."""

import random
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Dict, Iterable, List, Mapping, NoReturn, Optional, Sequence, Set, Type

from tools import jvm
from tools.kafka_settings import (
    CLUSTER_ID,
    HOST,
    ZOOKEEPER_SESSION_S,
    NodePorts,
    as_file,
    has_zookeeper,
    node_properties,
    zookeeper_properties,
)

DEFAULT_VERSION = "4.3.1"
PROVEN_VERSIONS = ("2.8.2", "3.9.1", "4.3.1", "4.4.0")
"""Releases that were seen to start here: the last one with ZooKeeper, the last 3, two of 4."""

READY_TIMEOUT_S = 120

SMALL_JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Starts quickly and takes little memory: collections are frequent, and code is compiled only once."""
_JVM_OPTIONS = ("-Dorg.slf4j.simpleLogger.showDateTime=true",)
# Below the range that systems hand out to outgoing connections (Linux 32768, macOS 49152 and up):
# while a node is down, no client's own connection can sit on the port that it will need again.
_PORTS = range(20000, 32000)


class PortTaken(Exception):
    """A port that was free when chosen has since been taken."""


class LocalKafka:
    """A Kafka of 1 or 3 nodes in a temporary directory. Use it with `with`; nothing is left behind.

    `settings` are broker properties and win over ours. `ports` are the client ports, one a node;
    without them free ones are chosen. Clients connect to `bootstrap_servers` (listener CLIENT, which
    settings can turn to SASL); `internal_servers` is the brokers' own listener, always plain text.
    `listeners` names further ones, whose protocols the settings say; clients reach them at `address`.
    Nodes are numbered from 1. Raises `jvm.MissingPiece` or `jvm.ProcessFailed`.
    """

    def __init__(
        self,
        version: str = DEFAULT_VERSION,
        nodes: int = 1,
        settings: Optional[Mapping[str, str]] = None,
        ports: Optional[Sequence[int]] = None,
        jvm_options: Sequence[str] = SMALL_JVM,
        listeners: Sequence[str] = (),
    ) -> None:
        if nodes not in (1, 3):
            raise ValueError(f"a local Kafka has 1 or 3 nodes, not {nodes}")
        self.version = version
        self.nodes = tuple(range(1, nodes + 1))
        self._settings = dict(settings or {})
        self._wanted_ports = ports
        self._listeners = listeners
        self._jvm_options = (*jvm_options, *_JVM_OPTIONS)
        self._java = jvm.find_java()
        self._jars = kafka_jars(version)
        self._start_on_free_ports()

    # ---- for clients

    @property
    def bootstrap_servers(self) -> str:
        """The addresses for clients, as `bootstrap.servers` wants them."""
        return _addresses(ports.client for ports in self._cluster.values())

    @property
    def internal_servers(self) -> str:
        """The brokers' own addresses: plain text and no log-in, whatever the settings ask of clients."""
        return _addresses(ports.internal for ports in self._cluster.values())

    def address(self, listener: str) -> str:
        """Where the first node has this one of its further listeners."""
        return f"{HOST}:{self._cluster[1].more[listener]}"

    # ---- for those who test failure

    def kill(self, node: int = 1) -> None:
        """End a node as kill -9 does."""
        self._running.pop(node).kill()

    def pause(self, node: int = 1) -> None:
        """Freeze a node: connections stay open, nothing answers."""
        self._running[node].pause()

    def resume(self, node: int = 1) -> None:
        """Let a paused node go on."""
        self._running[node].resume()

    def restart(self, node: int = 1) -> None:
        """Stop a node, unless it was killed, and start it again on its data; returns when it is back.

        After a kill this takes about 10 s: the controllers first have to notice that the old one is dead.
        """
        if node in self._running:
            self._running.pop(node).terminate()
        elif has_zookeeper(self.version):
            time.sleep(ZOOKEEPER_SESSION_S + 1)
        self._start_node(node)
        self._wait_until_ready()

    def log(self, node: int = 1) -> str:
        """A node's log since the cluster started."""
        return (self._scratch.path / f"node-{node}.log").read_text(errors="replace")

    # ---- the end

    def wait(self) -> NoReturn:
        """Block for as long as every node runs; raises `jvm.ProcessFailed` when one ends by itself."""
        while True:
            self._fail_if_ended()
            time.sleep(0.5)

    def stop(self) -> None:
        """End every node and remove all data. Stopping twice does nothing."""
        self._scratch.close()

    def keep_logs(self) -> Path:
        """Copy the logs of all nodes to a directory that stays; returns it."""
        return self._scratch.keep_logs()

    def __enter__(self) -> "LocalKafka":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if isinstance(error, Exception):
            jvm.warn(f"broker logs kept in {self.keep_logs()}")
        self.stop()

    # ---- starting

    def _start_on_free_ports(self) -> None:
        """Start; if another program has taken one of the ports meanwhile, start over on others."""
        for attempts_left in (2, 1, 0):
            try:
                return self._start()
            except PortTaken:
                if not attempts_left:
                    raise

    def _start(self) -> None:
        self._scratch = jvm.Scratch("orderflow-kafka-")
        self._cluster = self._choose_ports()
        self._running: Dict[int, jvm.Process] = {}
        try:
            self._prepare()
            for node in self.nodes:
                self._start_node(node)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _choose_ports(self) -> Dict[int, NodePorts]:
        wanted = self._wanted_ports or ()
        free = free_ports((3 + len(self._listeners)) * len(self.nodes), avoid=wanted)
        clients = list(wanted) or [free.pop() for _ in self.nodes]
        return {
            node: NodePorts(client, free.pop(), free.pop(), {name: free.pop() for name in self._listeners})
            for node, client in zip(self.nodes, clients)
        }

    def _prepare(self) -> None:
        home = self._scratch.path
        for node in self.nodes:
            properties = node_properties(self.version, node, self._cluster, str(home / f"data-{node}"))
            self._node_file(node).write_text(as_file({**properties, **self._settings}))
        if has_zookeeper(self.version):
            self._start_zookeeper()
        else:
            self._format()

    def _start_zookeeper(self) -> None:
        home = self._scratch.path
        file = home / "zookeeper.properties"
        file.write_text(as_file(zookeeper_properties(self._cluster, str(home / "zookeeper"))))
        self._start_java("zookeeper", "org.apache.zookeeper.server.ZooKeeperServerMain", str(file))

    def _format(self) -> None:
        """Give each node's empty directory the cluster's id and features."""
        command = ("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c")
        formats = [self._start_java(f"format-{n}", *command, str(self._node_file(n))) for n in self.nodes]
        exit_codes = [each.wait() for each in formats]
        if any(exit_codes):
            raise jvm.ProcessFailed(f"Kafka {self.version} refuses its settings:\n{formats[0].tail()}")

    def _start_node(self, node: int) -> None:
        self._running[node] = self._start_java(f"node-{node}", "kafka.Kafka", str(self._node_file(node)))

    def _start_java(self, name: str, *arguments: str) -> jvm.Process:
        # In the directory that goes: a node that is killed cannot remove its temporary files.
        options = (*self._jvm_options, f"-Djava.io.tmpdir={self._scratch.path}")
        return self._scratch.start(name, [self._java, *options, "-cp", f"{self._jars}/*", *arguments])

    def _node_file(self, node: int) -> Path:
        return self._scratch.path / f"node-{node}.properties"

    # ---- watching

    def _wait_until_ready(self) -> None:
        """Return when every node, asked alone, tells a client of all of them.

        An open port proves nothing, and another node may still list one that was killed.
        """
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._all_know_all():
            self._fail_if_ended()
            if time.monotonic() > deadline:
                raise self._failure(min(self._running), f"is not ready after {READY_TIMEOUT_S} s")
            time.sleep(0.1)

    def _all_know_all(self) -> bool:
        awake = {node for node, process in self._running.items() if not process.paused}
        return all(awake <= listed_brokers(f"{HOST}:{self._cluster[node].internal}") for node in awake)

    def _fail_if_ended(self) -> None:
        for node, process in self._running.items():
            if process.running:
                continue
            if "Address already in use" in self.log(node):
                raise self._port_taken(node)
            raise self._failure(node, "has ended")

    def _port_taken(self, node: int) -> Exception:
        port = self._cluster[node].client
        if self._wanted_ports is None or is_free(port):
            return PortTaken()
        return jvm.ProcessFailed(
            f"port {port} is in use, by another Kafka perhaps\nnext: stop it, or choose another with --port"
        )

    def _failure(self, node: int, what: str) -> jvm.ProcessFailed:
        return jvm.ProcessFailed(
            f"Kafka {self.version} node {node} {what}; its log, kept in {self.keep_logs()}, ends:\n"
            f"{self._running[node].tail()}"
        )


def kafka_jars(version: str) -> Path:
    """The directory with the jars of this Kafka; fetched the first time, offline afterwards."""
    kafka = f"org.apache.kafka:kafka_2.13:{version}"
    return jvm.jars(f"kafka-{version}", [kafka, "org.slf4j:slf4j-simple:1.7.36"])


def free_ports(count: int, avoid: Sequence[int] = ()) -> List[int]:
    """Distinct ports on which nothing listens right now."""
    shuffled = random.sample(_PORTS, len(_PORTS))
    free = (port for port in shuffled if port not in avoid and is_free(port))
    return [next(free) for _ in range(count)]


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address right now."""
    with socket.socket() as probe:
        # As Java does: connections that still linger on the port are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def listed_brokers(servers: str) -> Set[int]:
    """The ids of the brokers that an admin client sees; empty if none answers within a second."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        return set(AdminClient({"bootstrap.servers": servers, "log_level": 0}).list_topics(timeout=1).brokers)
    except KafkaException:
        return set()


def _addresses(ports: Iterable[int]) -> str:
    return ",".join(f"{HOST}:{port}" for port in ports)
