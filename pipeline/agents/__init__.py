"""Agents: what runs beside the metered program: the SDK, its spool, the host agent, the feeds.

    with Recorder.open(kafka="127.0.0.1:9092", spool="usage.spool", producer="my-service") as usage:
        usage.record(customer="acme", meter="api_calls", value="1")

Light to import: confluent_kafka, fastavro, sqlite3 and psutil are loaded when first needed.
"""

from pipeline.agents.failures import (
    NotDelivered,
    NotRecording,
    RefusedUsage,
    SpoolBusy,
    SpoolFailed,
    SpoolFull,
    WrongTopic,
)
from pipeline.agents.feed import Change, DraftFeed, InvoiceFeed, LineFeed, What
from pipeline.agents.link import BrokerAway
from pipeline.agents.recorder import Recorder
from pipeline.agents.writing import Habits

__all__ = [
    "BrokerAway",
    "Change",
    "DraftFeed",
    "Habits",
    "InvoiceFeed",
    "LineFeed",
    "NotDelivered",
    "NotRecording",
    "Recorder",
    "RefusedUsage",
    "SpoolBusy",
    "SpoolFailed",
    "SpoolFull",
    "What",
    "WrongTopic",
]
