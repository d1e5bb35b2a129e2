"""Rights on a topic, taken and given back, on a broker with an authorizer."""

from typing import Any, Dict

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

ANYBODY: Any = None
"""The client takes None for "whoever", which its types do not say."""


def deny_writing(client: Dict[str, Any], topic: str, everywhere: bool = False) -> None:
    """Let nobody write to the topic any more; `everywhere`: nor write anything without a transaction."""
    bindings = [_acl(topic, AclOperation.ALL, AclPermissionType.ALLOW)]
    bindings.append(_acl(topic, AclOperation.WRITE, AclPermissionType.DENY))
    if everywhere:
        bindings.append(_on_cluster(AclOperation.ALL, AclPermissionType.ALLOW))
        bindings.append(_on_cluster(AclOperation.IDEMPOTENT_WRITE, AclPermissionType.DENY))
    admin = AdminClient(client)
    for binding in bindings:
        admin.create_acls([binding])[binding].result(20)


def deny(client: Dict[str, Any], topic: str, operation: AclOperation) -> None:
    """Let nobody do this to the topic any more; all else is allowed."""
    admin = AdminClient(client)
    allowed = _acl(topic, AclOperation.ALL, AclPermissionType.ALLOW)
    for binding in (allowed, _acl(topic, operation, AclPermissionType.DENY)):
        admin.create_acls([binding])[binding].result(20)


def allow_writing(client: Dict[str, Any], topic: str) -> None:
    """Take that back."""
    allow(client, topic, AclOperation.WRITE)


def allow(client: Dict[str, Any], topic: str, operation: AclOperation) -> None:
    """Deny this to nobody any more."""
    denied = AclBindingFilter(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        ANYBODY,
        ANYBODY,
        operation,
        AclPermissionType.DENY,
    )
    admin = AdminClient(client)
    for done in admin.delete_acls([denied]).values():
        done.result(20)


def _acl(topic: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*", operation, permission
    )


def _on_cluster(operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    whole = ResourcePatternType.LITERAL
    return AclBinding(ResourceType.BROKER, "kafka-cluster", whole, "User:*", "*", operation, permission)
