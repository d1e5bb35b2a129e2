"""The settings that a consumer is assembled from: `config.Settings` has them, but no folder may import it."""

from typing import Optional, Protocol, Tuple


class RunSettings(Protocol):
    """What `config.SETTINGS` says of each; times are in seconds, sizes in bytes."""

    @property
    def bootstrap_servers(self) -> str: ...  # noqa: D102
    @property
    def orders_topic(self) -> str: ...  # noqa: D102
    @property
    def dlq_topic(self) -> str: ...  # noqa: D102
    @property
    def processed_topic(self) -> Optional[str]: ...  # noqa: D102
    @property
    def ledger_topic(self) -> str: ...  # noqa: D102
    @property
    def consumer_group(self) -> str: ...  # noqa: D102
    @property
    def order_key(self) -> str: ...  # noqa: D102
    @property
    def workers(self) -> int: ...  # noqa: D102
    @property
    def guarantee(self) -> str: ...  # noqa: D102
    @property
    def max_retries(self) -> int: ...  # noqa: D102
    @property
    def retry_backoff_s(self) -> float: ...  # noqa: D102
    @property
    def retry_backoff_max_s(self) -> float: ...  # noqa: D102
    @property
    def key_failures(self) -> int: ...  # noqa: D102
    @property
    def handler_timeout_s(self) -> float: ...  # noqa: D102
    @property
    def shutdown_timeout_s(self) -> float: ...  # noqa: D102
    @property
    def outage_window_s(self) -> float: ...  # noqa: D102
    @property
    def max_queued(self) -> int: ...  # noqa: D102
    @property
    def max_waiting_bytes(self) -> int: ...  # noqa: D102
    @property
    def dead_letter_stack(self) -> bool: ...  # noqa: D102
    @property
    def masked_fields(self) -> Optional[Tuple[str, ...]]: ...  # noqa: D102
    @property
    def metrics_port(self) -> Optional[int]: ...  # noqa: D102
    @property
    def metrics_address(self) -> str: ...  # noqa: D102
