"""Orders of one's own: shipments, which share no field with the shipped schema, with their own rules.

export ORDER_SCHEMA=examples/shipments/shipment.avsc ORDER_KEY=tracking_number
python producer.py --count 100
python consumer.py --handler examples/shipments/shipping.py:ship --rules examples/shipments/shipping.py:check
"""

from typing import Any, Dict

from orderflow import InvalidOrder, RejectOrder

HEAVIEST_KG = 1_000


def check(shipment: Dict[str, Any]) -> None:
    """The rules: called with every decoded shipment before the handler is."""
    if not shipment["parcels"]:
        raise InvalidOrder("parcels", "must not be empty")
    for number, parcel in enumerate(shipment["parcels"]):
        if parcel["weight_kg"] <= 0:
            raise InvalidOrder(f"parcels[{number}].weight_kg", f"must be positive: {parcel['weight_kg']}")


def ship(shipment: Dict[str, Any]) -> Dict[str, Any]:
    """The handler: what it returns is published to PROCESSED_TOPIC."""
    weight_kg = sum(parcel["weight_kg"] for parcel in shipment["parcels"])
    if shipment["carrier"] == "AIR" and weight_kg > HEAVIEST_KG:
        raise RejectOrder(f"too heavy to fly: {weight_kg} kg")
    return {
        "tracking_number": shipment["tracking_number"],
        "due": shipment["due"].isoformat(),
        "weight_kg": str(weight_kg),
    }
