"""Generates `.env.example` from the settings in config.py: python tools/env_example.py > .env.example."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from config import SETTINGS, Setting

HEAD = """\
# Settings of producer.py, consumer.py and dlq_handler.py: copy this file to .env and change what you need.
# A flag overrides the environment, the environment overrides .env, and .env overrides the defaults below.
# Lines without a space after the # are settings.
"""

TAIL = """
# Any other property of the Kafka client: KAFKA_ before its name, _ for each dot. A password can be read from
# a file: KAFKA_SASL_PASSWORD_FILE.
#KAFKA_SECURITY_PROTOCOL=SASL_SSL
#KAFKA_SASL_MECHANISM=SCRAM-SHA-512
#KAFKA_SASL_USERNAME=orders
#KAFKA_SASL_PASSWORD_FILE=/run/secrets/kafka-password
"""


def text() -> str:
    """The whole file: every setting with its meaning, commented out, at its default."""
    return HEAD + "".join(f"\n{part}" for part in map(_entry, SETTINGS)) + TAIL


def _entry(setting: Setting) -> str:
    return f"# {setting.meaning}\n#{_assignment(setting)}\n"


def _assignment(setting: Setting) -> str:
    if setting.secret:
        return f"{setting.env}_FILE=/run/secrets/{setting.env.lower().replace('_', '-')}"
    return f"{setting.env}={setting.default or ''}"


if __name__ == "__main__":
    print(text(), end="")
