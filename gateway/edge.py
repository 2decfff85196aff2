"""The policies of every route, put together from the settings.

What the policies of all routes share (keys, counters, key sets, the cache) lives as long as the
worker and is made here, once; the policies themselves are made anew by every reload. A route
gets those that it asks for and no other, in one order: CORS first, so that whatever answers
early carries its headers; then who may at all, then how often, then what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import time
from typing import TYPE_CHECKING, Final

from gateway.config import Settings
from gateway.config.edges import Cors as CorsSettings
from gateway.config.model import Route as RouteSettings
from gateway.config.ratelimits import RateLimit as LimitSettings
from gateway.config.realtime import Realtime
from gateway.exchange import Endpoint, Exchange, Policy, Route
from gateway.keyring import Keyring
from gateway.own import Own
from gateway.policies import cors, ratelimit, sunset
from gateway.policies.access import Access
from gateway.policies.api_key import ApiKeys
from gateway.policies.auth import Auth, Way
from gateway.policies.cors import Cors, Unrouted
from gateway.policies.ratelimit import RateLimit
from gateway.policies.sunset import Sunset
from gateway.policies.token import Token
from gateway.shared import Shared
from gateway.stores import Database, Limiter, Shelf
from gateway.stores.keys import Keys
from gateway.telemetry.events import EventLog
from gateway.telemetry.metrics import Metrics

if TYPE_CHECKING:  # imported when a setting asks for them
    import aiohttp
    from aiohttp import web

    from gateway.api import SignIn
    from gateway.caching.shelves import Shelves
    from gateway.identities import Identities
    from gateway.stores.redis_cache import RedisCache, Server

CODERS: Final = 2  # threads that compress: more of them would take the event loop's own time


KINDS: Final = ("token", "api_key", "jwt")  # of what a principal brought


class Edge:
    """What a worker's policies share, and the maker of policies."""

    def __init__(
        self, settings: Settings, *, metrics: Metrics, log: EventLog, shared: Shared
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._shared = shared
        self._coders: ThreadPoolExecutor | None = None  # compress what is large

        self.limiter: Limiter  # as soon as the stores are open
        self.redis: Server | None = None  # likewise
        self.database: Callable[[], Database]  # likewise
        self.session: aiohttp.ClientSession  # likewise: for what is asked for by URL
        self.exchange_of: Callable[[web.Request], Exchange]
        self.identities: Identities | None = None  # what is known of tokens and users
        self._keys: ApiKeys | None = None  # and of keys
        self._stored: Keys | None = None  # where these are
        self._identities: list[Identities] = []  # all that are open
        self._shelves: Shelves | None = None  # what the routes' caches share
        self._remote: RedisCache | None = None  # and where they keep it, if that is Redis

    async def open(self) -> None:
        """Open what needs a server or a file. A server that is down is no reason not to start."""
        self._identify()

    async def close(self) -> None:
        """Close what `open` opened."""
        if self._keys is not None:
            await self._keys.close()
        for one in self._identities:
            await one.close()
        if self._shelves is not None:
            await self._shelves.close()
        if self._remote is not None:
            await self._remote.close()
        if self._coders is not None:
            self._coders.shutdown(wait=False, cancel_futures=True)

    def apply(self, settings: Settings) -> None:
        """Have policies that are made from here on obey these settings."""
        self._settings = settings
        self._identify()

    def _identify(self) -> None:
        """Know tokens and users as the settings say; what they did not change goes on."""
        auth = self._settings.auth
        wanted = (auth.jwt, auth.login, self._settings.secret_key if auth.login else None)
        found = next((one for one in self._identities if one.made_from == wanted), None)
        if found is None and wanted != (None, None, None):
            from gateway.identities import Identities

            found = Identities(
                wanted,
                session=self.session,
                database=self.database,
                limiter=self.limiter,
                exchange_of=self.exchange_of,
                metrics=self._metrics,
                log=self._log,
            )
            found.open()
            self._identities.append(found)
        self.identities = found

    async def settle(self) -> None:
        """Close what was made from other settings than those that are obeyed now."""
        for one in self._identities[:]:
            if one is not self.identities:
                self._identities.remove(one)
                await one.close()

    def sign_in(self) -> SignIn | None:
        """What answers where users sign in; None where they cannot."""
        return None if self.identities is None else self.identities.auth

    # ------------------------------------------------------------------------------ for a route

    def put_on(self, route: Route, settings: RouteSettings) -> Route:
        """The route with its policies."""
        route.policies = tuple(self._policies(route, settings))
        route.endpoint = self._endpoint(settings, route.endpoint)
        return route

    def put_on_own(self, route: Route, own: Own) -> Route:
        """One of the gateway's own endpoints with its policies."""
        guarded = self._guarded(route, own.way, own.scopes, own.limit)
        route.policies = (*self._cors(route, self._settings.cors), *guarded)
        return route

    def put_on_live(self, route: Route, settings: Realtime) -> Route:
        """The way to live updates with its policies."""
        route.policies = tuple(self._live_policies(route, settings))
        guards = [policy for policy in route.policies if isinstance(policy, Auth)]
        route.still = guards[0].still if guards else None
        return route

    def unrouted(self) -> tuple[Policy, ...]:
        """What an error carries where no route matched."""
        rule = rule_of(self._settings.cors)
        return () if rule is None else (Unrouted(rule),)

    def _policies(self, route: Route, settings: RouteSettings) -> Iterator[Policy]:
        """In the order in which a request meets them."""
        yield from self._cors(route, settings.cors or self._settings.cors)
        yield from self._access(settings)
        yield from self._sunset(route, settings)
        scopes = frozenset(settings.scopes)
        yield from self._guarded(route, settings.auth, scopes, settings.rate_limit)
        if settings.claims:
            from gateway.policies.jwt import Claims

            yield Claims(settings.claims)
        yield from self._validation(route, settings)
        yield from self._compression(settings)

    def _live_policies(self, route: Route, settings: Realtime) -> Iterator[Policy]:
        yield from self._cors(route, self._settings.cors)
        if settings.way != "none":
            yield self.guard(settings.way, frozenset(settings.scopes))

    def _cors(self, route: Route, settings: CorsSettings) -> Iterator[Policy]:
        rule = rule_of(settings, route.methods)
        if rule is not None:
            route.preflight = True
            route.replaces |= cors.REPLACED
            yield rule

    def _access(self, settings: RouteSettings) -> Iterator[Policy]:
        if settings.access is not None:
            yield Access(settings.access.allow, settings.access.deny)

    def _sunset(self, route: Route, settings: RouteSettings) -> Iterator[Policy]:
        table = settings.deprecated
        if table is not None:
            route.replaces |= sunset.REPLACED
            yield Sunset(table.since, table.sunset, links=table.links, now=time)

    def _guarded(
        self, route: Route, way: str, scopes: frozenset[str], table: LimitSettings | None
    ) -> Iterator[Policy]:
        """Who may, and how often: by address before it is asked who it is, else after."""
        limit = self._rate_limit(route, table)
        if limit is not None and limit.by == "ip":
            yield limit
        if way != "none":
            # Who is counted by address was counted already; who is counted by key has shown none.
            strangers = limit if limit is not None and limit.by != "ip" else None
            yield self.guard(way, scopes, strangers)
        if limit is not None and limit.by != "ip":
            yield limit

    def guard(self, way: str, scopes: frozenset[str], strangers: Policy | None = None) -> Auth:
        """Lets in who brings what `auth` stands for, with all of the scopes."""
        cells = {kind: self._metrics.auth_accepted.child(kind) for kind in KINDS}
        return Auth(
            list(self._ways(way)),
            scopes,
            failed=self._failed,
            refused=self._not_let_in,
            accepted=lambda kind: cells[kind].inc(),
            strangers=strangers,
        )

    def _ways(self, way: str) -> Iterator[Way]:
        if way in ("api_key", "any"):
            yield self._known_keys()
        signed = way in ("jwt", "any") and self.identities is not None
        if way in ("token", "any") and self._settings.auth.tokens:
            yield Token(self._settings.auth.tokens, only=not signed, failed=self._failed)
        if signed and self.identities is not None:
            yield self.identities.jwt

    def _known_keys(self) -> ApiKeys:
        if self._keys is None:
            self._keys = ApiKeys(self._stored_keys(), failed=self._failed)
        return self._keys

    def _stored_keys(self) -> Keys:
        if self._stored is None:
            self._stored = Keys(self.database())
        return self._stored

    def keyring(self) -> Keyring:
        """API keys, for those who manage them."""
        return Keyring(self._stored_keys())

    def keeps_keys(self) -> bool:
        """Whether there are API keys: somebody asks for them, or a database is named for them."""
        stores, routes = self._settings.stores, self._settings.routes
        named = stores.postgres is not None or stores.sqlite is not None
        own = (self._settings.realtime, *self._settings.apis.all())
        ways = [route.auth for route in routes] + [one.way for one in own if one is not None]
        return named or any(way in ("api_key", "any") for way in ways)

    def _not_let_in(self, exchange: Exchange, why: str) -> None:
        route = exchange.route
        self._log.info(
            "auth_failed",
            request_id=exchange.request_id.decode(),
            route=None if route is None else route.name,
            client_ip=exchange.client_ip.decode(),
            problem=why,
        )

    def _failed(self, reason: str) -> None:
        self._metrics.auth_failures.child(reason).inc()

    def _rate_limit(self, route: Route, table: LimitSettings | None) -> RateLimit | None:
        if table is None:
            return None
        route.replaces |= ratelimit.REPLACED
        limited = self._metrics.rate_limited
        return RateLimit(
            self.limiter,
            scope=f"group {table.group}" if table.group else f"route {route.name}",
            by=table.by,
            rate=table.own,
            tiers=self._settings.tiers,
            enforce=table.mode == "enforce",
            counter=lambda tier: limited.child(route.name, tier),
        )

    def _validation(self, route: Route, settings: RouteSettings) -> Iterator[Policy]:
        table = settings.validation
        if table is None:
            return
        from gateway.policies.validation import Validation, sent_by

        rewrite = settings.rewrite or ""
        yield Validation(
            table.api,
            sent=sent_by(len(route.path), rewrite.encode()) if settings.strip_prefix else None,
            refuses_unlisted=table.unlisted == "refuse",
            body_limit=min(table.body_limit, route.max_body or table.body_limit),
        )

    def _compression(self, settings: RouteSettings) -> Iterator[Policy]:
        table = settings.compress
        if table is None:
            return
        from gateway.policies.compression import Compression

        if self._coders is None:
            self._coders = ThreadPoolExecutor(CODERS, thread_name_prefix="coder")
        yield Compression(
            codings=table.codings,
            types=table.types,
            min_size=table.min_size,
            saved=self._metrics.compression_saved.child(settings.name),
            executor=self._coders,
            loop=asyncio.get_running_loop(),
        )

    def _endpoint(self, settings: RouteSettings, endpoint: Endpoint) -> Endpoint:
        """What answers: the endpoint, or a cache in front of it."""
        table = settings.cache
        if table is None:
            return endpoint
        from gateway.policies.cache import Cached

        counter = self._metrics.cache_requests
        return Cached(
            endpoint,
            self.shelves(),
            lambda result: counter.child(settings.name, result).inc,
            ttl=table.ttl,
            most=self._settings.cache.largest,
            cookies=table.set_cookie,
            disconnected=table.stale_if_lost,
        )

    def caches(self) -> bool:
        """Whether a route is cached."""
        return any(route.cache is not None for route in self._settings.routes)

    def shelves(self) -> Shelves:
        """Where all caches keep their answers; they are put up when the first one asks."""
        if self._shelves is None:
            from gateway.caching.front import Front
            from gateway.caching.shelves import Shelves
            from gateway.stores.shared_cache import SharedCache

            memory = self._shared.answers
            behind: Shelf = SharedCache(memory)
            if self.redis is not None:
                from gateway.stores.redis_cache import RedisCache

                behind = self._remote = RedisCache(self.redis, memory.epochs)
                self._remote.open()
            self._shelves = Shelves(Front(self._settings.cache.front), behind, memory.epochs)
        return self._shelves


def rule_of(settings: CorsSettings, methods: frozenset[bytes] | None = None) -> Cors | None:
    """A CORS rule for a route that takes these methods; None where it is turned off."""
    if not settings.origins:
        return None
    named = [method.encode() for method in settings.methods]
    return Cors(
        settings.origins,
        methods=named or (sorted(methods) if methods else cors.METHODS),
        headers=[name.encode() for name in settings.headers],
        expose=[name.encode() for name in settings.expose],
        credentials=settings.credentials,
        max_age=int(settings.max_age),
    )
