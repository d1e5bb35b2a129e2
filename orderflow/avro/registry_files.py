"""The PEM files for a schema registry, opened before its client does: it does not tell which is at fault.

For a key that has a password and was given none, that client would ask on the terminal, and wait.
"""

import os
import ssl
from typing import Optional

from orderflow.exits import fault_of

_CA, _CERTIFICATE = "SCHEMA_REGISTRY_CA_LOCATION", "SCHEMA_REGISTRY_CERTIFICATE_LOCATION"
_KEY, _PASSWORD = "SCHEMA_REGISTRY_KEY_LOCATION", "SCHEMA_REGISTRY_KEY_PASSWORD"


def fault_of_files(
    ca: Optional[str], certificate: Optional[str], key: Optional[str], password: Optional[str]
) -> Optional[str]:
    """What is wrong with the first of these files, by the name of its setting; None if nothing is."""
    if certificate is None and (key is not None or password is not None):
        return f"{_KEY if key is not None else _PASSWORD} needs {_CERTIFICATE}"
    for name, path in ((_CA, ca), (_CERTIFICATE, certificate)):
        fault = None if path is None else _fault_of_certificates(path)
        if fault is not None:
            return f"{name}: {path}: {fault}"
    return None if certificate is None else _fault_of_key(certificate, key, password)


def _fault_of_certificates(path: str) -> Optional[str]:
    if os.path.isdir(path):  # of authorities, one file each
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return "holds no certificate in PEM"
    except OSError as error:
        return fault_of(error)
    return None


def _fault_of_key(certificate: str, key: Optional[str], password: Optional[str]) -> Optional[str]:
    name, path = (_CERTIFICATE, certificate) if key is None else (_KEY, key)
    try:
        # An empty password, so that none is asked for.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password or "")
    except (ssl.SSLError, ValueError):  # a password may be longer than any
        hint = f"{_PASSWORD} is not its password" if password else f"it needs {_PASSWORD}"
        return f"{name}: {path}: holds no private key of that certificate, or {hint}"
    except OSError as error:
        return f"{name}: {path}: {fault_of(error)}"
    return None
