"""Whether a Kafka answers, and if it does not, why."""

import queue
import threading
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from orderflow.exits import KafkaUnreachable
from orderflow.kafka import refusals
from orderflow.kafka.client_properties import started
from orderflow.kafka.refusals import plain_reason

NEXT_STEP = "start one with `make kafka` or `docker compose up -d`, or set KAFKA_BOOTSTRAP_SERVERS"
_FIRST_STEP_S, _LONGEST_STEP_S = 0.25, 2.0


def admin_client(conf: Mapping[str, Any]) -> AdminClient:
    """A client of one's own for questions about the cluster."""
    return started(AdminClient, conf)


def require_kafka(conf: Mapping[str, Any], timeout_s: float = 8.0) -> None:
    """Return once a broker answers. Raises KafkaUnreachable after `timeout_s`, or at once if refused.

    Whatever a client does next, it does at the addresses by which brokers name themselves, so one of them
    must be there too. The default leaves time to start and to print within the promised 10 s.
    """
    errors: List[KafkaError] = []
    log = _Log()
    admin = admin_client({**conf, **log.wanted(conf), "error_cb": errors.append})
    deadline_s = time.monotonic() + timeout_s
    step_s = _FIRST_STEP_S
    while True:
        named = _named_brokers(admin, step_s)
        if named is not None and _may_be_there(named, deadline_s):
            return
        step_s = min(2 * step_s, _LONGEST_STEP_S, max(0.0, deadline_s - time.monotonic()))
        refusal = refusals.refusal(conf, errors, log.lines)
        if refusal is not None:
            raise KafkaUnreachable(f"Kafka at {address_of(conf)} refuses us: {refusal}")
        if step_s <= 0:
            tried = f"tried for {timeout_s:g} s, {_reason(errors)}"
            if refusals.answers(conf):
                _require_advertised(conf, named or refusals.learned_places(errors), errors)
                raise KafkaUnreachable(
                    f"something answers at {address_of(conf)}, but not as a Kafka that we can use: {tried}; "
                    "check KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL"
                )
            raise KafkaUnreachable(f"Kafka does not answer at {address_of(conf)}: {tried}; {NEXT_STEP}")


def answering_broker(conf: Mapping[str, Any], timeout_s: float) -> str:
    """The address of `bootstrap.servers` that answers first. Raises KafkaUnreachable as `require_kafka` does.

    All are asked at the same time, each by a client of its own: a client that begins with a broker that is
    frozen tries the next one only after a second. So may each further client, unless it is given this one.
    """
    addresses = [address.strip() for address in address_of(conf).split(",")]
    answers: queue.Queue[Tuple[str, Optional[Exception]]] = queue.Queue()

    def ask(address: str) -> None:
        try:
            require_kafka({**conf, "bootstrap.servers": address}, timeout_s)
            answers.put((address, None))
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread, which waits for an answer
            answers.put((address, error))

    for address in addresses:
        threading.Thread(target=ask, args=(address,), daemon=True).start()
    errors = []
    for _ in addresses:
        address, error = answers.get()
        if error is None:
            return address
        errors.append(error)
    if len(errors) == 1 or not isinstance(errors[0], KafkaUnreachable):
        raise errors[0]
    raise KafkaUnreachable(f"none of {len(errors)} addresses answers: {errors[0]}")


def _may_be_there(places: Sequence[str], until_s: float) -> bool:
    """Whether something listens at one of these places; True too where that takes too long to find out."""
    return not places or any(refusals.listens(each) or time.monotonic() >= until_s for each in places)


def _require_advertised(conf: Mapping[str, Any], places: Sequence[str], errors: Sequence[KafkaError]) -> None:
    """Raise KafkaUnreachable if brokers name themselves in a way that leads nowhere from here."""
    if not places or any(refusals.listens(each) for each in places):
        return
    raise KafkaUnreachable(
        f"Kafka at {address_of(conf)} answers, and names itself {', '.join(places)} (advertised.listeners of "
        f"the broker), which cannot be reached from here ({_reason(errors)}): have it advertise an address "
        "that its clients reach"
    )


class _Log:
    """What a client writes about its connections, kept instead: some of it is no error to the client."""

    def __init__(self) -> None:
        self.lines: List[str] = []

    def wanted(self, conf: Mapping[str, Any]) -> Dict[str, Any]:
        """The properties for it; none where somebody asked to see the client's own log."""
        return {} if "debug" in conf else {"logger": self, "log_level": 6}

    def log(self, level: int, form: str, *parts: object) -> None:
        """What the client calls, as it would a logger of the standard library."""
        self.lines.append(form % parts)


def _named_brokers(admin: AdminClient, step_s: float) -> Optional[List[str]]:
    """The addresses by which brokers name themselves; None where none answers now.

    Short, so that Ctrl-C and the error callback get their turn.
    """
    try:
        found = admin.list_topics(timeout=step_s).brokers.values()
    except KafkaException:
        admin.poll(0)
        return None
    return sorted(f"{broker.host}:{broker.port}" for broker in found)


def answers(admin: AdminClient, step_s: float) -> bool:
    """Whether a broker answers now."""
    return _named_brokers(admin, step_s) is not None


def address_of(conf: Mapping[str, Any]) -> str:
    """The brokers that a client connects to first."""
    return str(conf["bootstrap.servers"])


def _reason(errors: Sequence[KafkaError]) -> str:
    """The latest reported error, preferring a broker's own to "all brokers are down"."""
    told = [error for error in errors if error.code() != KafkaError._ALL_BROKERS_DOWN]
    return plain_reason(told[-1]) if told else "no answer"
