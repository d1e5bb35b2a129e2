"""Broker properties for a small Kafka of 1 or 3 nodes on one machine."""

from typing import Dict, List, Mapping, NamedTuple, Tuple

HOST = "127.0.0.1"
CLUSTER_ID = "b3JkZXJmbG93LWxvY2FsIQ"
"""Any 16 bytes in URL-safe base64 do; a fixed one makes logs comparable."""

ZOOKEEPER_SESSION_S = 4
"""How long ZooKeeper considers a killed broker alive, and refuses another with its id."""


class NodePorts(NamedTuple):
    """What one node listens on: clients, the other nodes and the tests, the controllers or ZooKeeper."""

    client: int
    internal: int
    controller: int
    more: Mapping[str, int] = {}
    """Further listeners for clients, by name; the settings say which protocol each speaks."""


Cluster = Mapping[int, NodePorts]
"""The ports of every node by its number, from 1."""


def node_properties(version: str, node: int, cluster: Cluster, data_dir: str) -> Dict[str, str]:
    """The properties of one node, before the user's own are applied."""
    quorum = _zookeeper(node, cluster) if has_zookeeper(version) else _kraft(node, cluster)
    return {
        **quorum,
        **_listeners(node, cluster, with_controller=not has_zookeeper(version)),
        **_sized_for(len(cluster)),
        **_QUICK_AND_SMALL,
        "log.dirs": data_dir,
    }


def has_zookeeper(version: str) -> bool:
    """Whether this Kafka keeps its metadata in ZooKeeper: the versions before 3 do here."""
    return int(version.split(".")[0]) < 3


def zookeeper_properties(cluster: Cluster, data_dir: str) -> Dict[str, str]:
    """A single ZooKeeper on the first node's controller port."""
    return {
        "dataDir": data_dir,
        "clientPort": str(cluster[1].controller),
        "clientPortAddress": HOST,
        "admin.enableServer": "false",
        "maxClientCnxns": "0",
        "tickTime": "500",
    }


def as_file(properties: Mapping[str, str]) -> str:
    """The text of a Java properties file."""
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def _kraft(node: int, cluster: Cluster) -> Dict[str, str]:
    voters = [f"{each}@{HOST}:{ports.controller}" for each, ports in cluster.items()]
    return {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": ",".join(voters),
        "controller.listener.names": "CONTROLLER",
    }


def _zookeeper(node: int, cluster: Cluster) -> Dict[str, str]:
    return {
        "broker.id": str(node),
        "zookeeper.connect": f"{HOST}:{cluster[1].controller}",
        "zookeeper.session.timeout.ms": str(1000 * ZOOKEEPER_SESSION_S),
    }


def _listeners(node: int, cluster: Cluster, with_controller: bool) -> Dict[str, str]:
    ports = cluster[node]
    for_clients = [("CLIENT", ports.client), ("INTERNAL", ports.internal), *ports.more.items()]
    controller = [("CONTROLLER", ports.controller)] if with_controller else []
    return {
        "listeners": _urls(for_clients + controller),
        "advertised.listeners": _urls(for_clients),
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
    }


def _urls(listeners: List[Tuple[str, int]]) -> str:
    return ",".join(f"{name}://{HOST}:{port}" for name, port in listeners)


def _sized_for(nodes: int) -> Dict[str, str]:
    """As many replicas as `nodes` allow; with three, one node may be down."""
    copies, in_sync = str(nodes), str(max(1, nodes - 1))
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


_QUICK_AND_SMALL = {
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.dedupe.buffer.size": "2097152",
    # A misspelt topic name must fail here as it does on a production cluster.
    "auto.create.topics.enable": "false",
}
