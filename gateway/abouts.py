"""What the document says of the gateway's own endpoints of `gateway.api`, by their names.

Apart from these, and imported when the document is made: a gateway that nobody asks for it builds
no models of answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.apidocs import models
from gateway.config.realtime import Realtime
from gateway.endpoints.auth import Login, Refresh
from gateway.endpoints.keys import Create, Revoke, Rotate
from gateway.own import About, Own, unasked

HEALTH: Final = "health"
OPERATION: Final = "operation"
USERS: Final = "users"
KEYS: Final = "keys"
LIVE: Final = "live updates"
DOCUMENTS: Final = "documents"

PLAIN: Final = "text/plain"
OPENMETRICS: Final = "application/openmetrics-text"
JSON: Final = "application/json"

ABOUT: Final[Mapping[str, About]] = {
    "gateway.health": About(
        "Whether the gateway and its stores are well",
        HEALTH,
        {200: models.Health, 503: models.Health},
    ),
    "gateway.live": About("Whether the process answers", HEALTH, {200: models.Alive}),
    "gateway.ready": About(
        "Whether it takes traffic", HEALTH, {200: models.Ready, 503: models.Ready}
    ),
    "gateway.metrics": About(
        "Metrics of all workers, in the form that Accept asks for",
        OPERATION,
        {200: models.Metrics},
        media=(PLAIN, OPENMETRICS, JSON),
    ),
    "gateway.metrics_prom": About(
        "Metrics as Prometheus text", OPERATION, {200: models.Text}, media=PLAIN
    ),
    "gateway.status": About("What it is configured to do", OPERATION, {200: models.Status}),
    "gateway.apis": About("The routes and their targets", OPERATION, {200: models.ServiceList}),
    "gateway.login": About(
        "Sign in", USERS, {200: models.Tokens}, body=Login, errors=(401, 413, 422, 429)
    ),
    "gateway.refresh": About(
        "Other tokens for a refresh token, which is good once",
        USERS,
        {200: models.Tokens},
        body=Refresh,
        errors=(401, 429),
    ),
    "gateway.logout": About(
        "Sign out: the refresh token opens nothing any more",
        USERS,
        {204: None},
        body=Refresh,
        errors=(429,),
    ),
    "gateway.keys": About("All API keys", KEYS, {200: models.Keys}),
    "gateway.keys_create": About(
        "Make a key, which is told this once", KEYS, {201: models.NewKey}, body=Create
    ),
    "gateway.keys_rotate": About(
        "Replace a key; the old one lives on for a while",
        KEYS,
        {201: models.NewKey},
        body=Rotate,
        errors=(404,),
    ),
    "gateway.keys_revoke": About(
        "Have a key open nothing any more", KEYS, {204: None}, body=Revoke, errors=(404,)
    ),
    "gateway.cache_purge": About(
        "Have the cache forget", OPERATION, {200: models.Purged}, body=models.Purge
    ),
    "gateway.events": About(
        "Tell the bus of an event", LIVE, {202: models.Accepted}, body=models.Event
    ),
    "gateway.asyncapi": About(
        "The protocol of live updates, for programs (AsyncAPI 3.0)",
        DOCUMENTS,
        {200: models.Document},
        errors=(404,),
    ),
    "gateway.openapi": About("This document", DOCUMENTS, {200: models.Document, 304: None}),
}


def live(settings: Realtime) -> tuple[tuple[Own, About], ...]:
    """The ways to live updates, as far as OpenAPI has words for them."""
    scopes, way = frozenset(settings.scopes), settings.way
    stream = Own("gateway.stream", "GET", settings.stream, unasked, scopes=scopes, way=way)
    socket = Own("gateway.socket", "GET", settings.path, unasked, scopes=scopes, way=way)
    return (
        (
            stream,
            About(
                "Live updates as Server-Sent Events",
                LIVE,
                {200: models.Text},
                query=models.StreamQuery,
                errors=(429,),
                media="text/event-stream",
            ),
        ),
        (
            socket,
            About(
                "Live updates over WebSocket; what is said there is in /api/asyncapi.json",
                LIVE,
                {101: None},
                errors=(429,),
            ),
        ),
    )
