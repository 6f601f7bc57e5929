"""`talea set-up`: schema, topics, first facts and tick 1, for whoever starts workers himself.

`talea up` does the same on its way. Init containers and service managers need it alone.
"""

from typing import Annotated

import typer

from pipeline import bootstrap
from pipeline.cli.screen import out, print_json
from pipeline.core.errors import BadInput
from pipeline.settings import read_settings
from pipeline.topology import TOPICS


def set_up(
    json: Annotated[bool, typer.Option("--json", help="Print the log's names as JSON.")] = False,
) -> None:
    """Set up the log on the servers that TALEA_KAFKA, _REDIS, _POSTGRES name. Twice is once."""
    settings = read_settings()
    if not (settings.kafka and settings.redis and settings.postgres):
        raise BadInput("set-up needs TALEA_KAFKA, TALEA_REDIS and TALEA_POSTGRES")
    around = bootstrap.set_up(
        bootstrap.surroundings(settings, settings.kafka, settings.redis, settings.postgres)
    )
    topics = [around.stack.topic(topic) for topic in TOPICS]
    if json:
        print_json(
            {"schema": around.database.schema, "partitions": around.partitions, "topics": topics}
        )
    else:
        out.print(
            f"the log is set up: schema {around.database.schema}, {len(topics)} topics,"
            f" {around.partitions} partitions"
        )
