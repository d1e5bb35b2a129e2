"""What the client's errors come to."""

from confluent_kafka import KafkaError

from orderflow.consume.client_errors import why_delayed


def test_a_transaction_that_hangs_comes_with_the_command_that_finds_it() -> None:
    """A broker that stood still may leave one open for minutes; whoever is woken has to know what to type."""
    hanging = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)

    assert "kafka-transactions.sh find-hanging" in why_delayed(hanging)


def test_any_other_error_is_told_in_its_own_words() -> None:
    """They say what is wrong."""
    late = KafkaError(KafkaError._TIMED_OUT)

    assert why_delayed(late) == late.str()
