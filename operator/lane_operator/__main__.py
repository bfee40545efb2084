"""The operator's process: settings, login, workers, watches, and the one way out.

Invariant: what cannot be served any more ends the process (a dead watch, a lost task), and the kubelet starts it again;
every pass is idempotent, so a restart at any instant loses nothing. Of several replicas the one that holds the Lease
works; the others list and watch like it, so that what they know is fresh when they follow (`leadership`).
"""

import asyncio
import contextlib
import ctypes
import dataclasses
import datetime as dt
import gc
import logging
import math
import os
import random
import secrets
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Never

import kopf
import structlog
import uvloop
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from lane_operator import metrics
from lane_operator.admission import Door, Identity
from lane_operator.blocklists import Blocklists, asker
from lane_operator.cache import Cache
from lane_operator.census import Census
from lane_operator.errors import ConflictError, KubeError, UnavailableError, WentBackError
from lane_operator.handlers import Intake, register, withheld_kinds
from lane_operator.inputs import DesiredSettings, ForcedDelivery, NetworkPolicies
from lane_operator.kube import IP_POOL, SENDING_LANE, Kind, Kube, configuration
from lane_operator.leadership import EVERY_S, Leadership, LeaseLostError
from lane_operator.observe import Observer
from lane_operator.own_resolver import nameservers
from lane_operator.queue import WorkQueue
from lane_operator.reconcile import NeverWentBack, QueueKey, World, run_pass
from lane_operator.settings import Settings

__all__ = ["main", "serve"]

M_MMAP_THRESHOLD = -3
"""Of mallopt(3)."""
STUCK_S = 300.0  # a pass is a few seconds of requests with 30 s timeouts; one that lasts longer hangs
log = structlog.get_logger("lane_operator")


def main() -> None:
    """Runs the operator until a signal or an error that a restart may heal."""
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        sys.exit(f"lane-operator: {error}")
    _log_as_json(settings.log_level)
    _collect_rarely()
    _give_memory_back()
    uvloop.run(_run(settings))  # asyncio's TLS holds 256 KiB a connection, and there is one to each slot and namespace


def _collect_rarely() -> None:
    """Leaves what was imported out of every collection of cycles, and waits with one for more than one object's JSON.

    A tenth of the CPU went into it, most of it into looking at modules.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 20, 20)


def _give_memory_back() -> None:
    """Has the C library give a buffer of 128 KiB or more back to the system once it is free.

    By default it keeps ever larger ones after the first that was freed, and each connection's TLS has one of 256 KiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; elsewhere there is none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 128 * 1024)


async def _run(settings: Settings) -> None:
    try:
        access = await configuration()
    except UnavailableError as error:
        sys.exit(f"lane-operator: {error}")
    async with Kube(access) as kube:
        kopf_settings = _kopf_settings()
        kopf_settings.scanning.disabled = bool(settings.watch_namespaces)  # no rights to list definitions there
        await serve(kube, settings, kopf_settings)


async def serve(
    kube: Kube,
    settings: Settings,
    kopf_settings: kopf.OperatorSettings,
    stop: asyncio.Event | None = None,
    ready: asyncio.Event | None = None,
) -> None:
    """Serves until stopped; everything that runs is a task of this one group."""
    queue: WorkQueue[QueueKey] = WorkQueue(time.monotonic, random.random)
    observer = Observer(lambda lane: queue.add(QueueKey(SENDING_LANE.kind, *lane)))
    leadership = _leadership(kube, settings)
    blocklists = _blocklists(settings, queue)
    fenced = kube.fenced(leadership.may_write_for) if leadership else kube
    world = dataclasses.replace(_world(fenced, settings, queue, observer, leadership), blocklists=blocklists)
    intake = Intake(world, queue.add)
    ready, leading = ready or asyncio.Event(), leadership.leading if leadership else _set()
    listed, works = asyncio.Event(), asyncio.Event()
    metrics.leader.set(leading.is_set())
    census = Census(world.cache)
    REGISTRY.register(census)
    try:
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(_http(settings, queue, world, ready), name="http")]
            if leadership:
                background.append(tasks.create_task(_lead(leadership), name="lease"))
            background.append(tasks.create_task(_begin(intake, leadership, listed, works), name="begin"))
            # before any worker: the first passes must not take a pool for missing. Nor ends the process meanwhile, or
            # it would be started again ever later, up to five minutes after the API server is back
            await _until_it_answers(intake.resync, leadership)
            listed.set()
            background += [
                tasks.create_task(_keep_resyncing(intake, settings, leadership), name="resync"),
                tasks.create_task(_keep_looking_for_kinds(intake, settings, leadership), name="kinds"),
                tasks.create_task(_gauges(queue, leading), name="gauges"),
                *(tasks.create_task(_work(world, queue, works), name=f"worker {n}") for n in range(settings.workers)),
                *(
                    tasks.create_task(
                        _keep_watching(intake, kind, namespace, leadership), name=f"{kind.plural} {namespace or ''}"
                    )
                    for kind, namespace in intake.own_collections()
                ),
            ]
            if settings.webhook:
                background.append(
                    tasks.create_task(_door(world).serve(settings.http_host or None, settings.webhook_port, leading))
                )
            await _watch(settings, kopf_settings, intake, stop, ready)
            for task in background:
                task.cancel()
        if leadership:  # no worker is left: the next may begin
            await leadership.release()
    finally:
        REGISTRY.unregister(census)
        await observer.close()
        await blocklists.close()


def _world(
    kube: Kube, settings: Settings, queue: WorkQueue[QueueKey], observer: Observer, leadership: Leadership | None
) -> World:
    """What every pass works with."""
    forced = ForcedDelivery(settings.force_delivery, settings.force_delivery_to) if settings.force_delivery else None
    policies = (
        NetworkPolicies(settings.closed_networks, settings.metrics_from, _cluster_dns())
        if settings.network_policies
        else None
    )
    return World(
        kube=kube,
        cache=Cache(),
        observer=observer,
        settings=settings,
        lanes=DesiredSettings(
            relay_image=settings.relay_image,
            resolver_image=settings.resolver_image,
            operator_namespace=settings.operator_namespace,
            image_pull_policy=settings.image_pull_policy,
            image_pull_secrets=settings.image_pull_secrets,
            monitoring_labels=dict(label.split("=", 1) for label in settings.monitoring_labels),
            runbook_url=settings.runbook_url,
            forced_delivery=forced,
            network_policies=policies,
        ),
        enqueue=queue.add,
        wall=lambda: dt.datetime.now(dt.UTC),
        monotonic=time.monotonic,
        served=frozenset(settings.secret_namespaces),
        withheld=withheld_kinds(settings),
        went_back=leadership or NeverWentBack(),
    )


def _blocklists(settings: Settings, queue: WorkQueue[QueueKey]) -> Blocklists:
    """Who asks blocklists; a pool of which something has changed is looked at."""
    return Blocklists(
        lambda pool: queue.add(QueueKey(IP_POOL.kind, *pool)),
        asker(settings.dnsbl_resolvers),
        lambda: dt.datetime.now(dt.UTC),
    )


def _cluster_dns() -> tuple[str, ...]:
    """What this pod asks; nothing where no file says so."""
    with contextlib.suppress(OSError):
        return nameservers(Path("/etc/resolv.conf").read_text(errors="replace"))
    return ()


def _door(world: World) -> Door:
    """The webhook; its certificate is written under the same fence as everything else."""
    settings = world.settings
    service = (settings.operator_namespace, settings.webhook_service)
    return Door(world, Identity(world.kube, service, settings.webhook, world.wall))


async def _lead(leadership: Leadership) -> None:
    """Waits for the Lease and keeps it; who loses it ends at once: the libraries' tasks take their time to stop."""
    try:
        await leadership.keep()
    except LeaseLostError as lost:
        log.error("lease lost", error=str(lost))  # noqa: TRY400  # no fault of ours: there is no traceback to read
        os._exit(1)
    except WentBackError as error:
        await _begin_anew(error, leadership)


async def _begin_anew(error: WentBackError, leadership: Leadership | None) -> Never:
    """Ends the process, whose cache is of what is no more; whoever leads next finds that on the Lease."""
    log.error("the API server's store went back, as after a restored etcd; everything is read anew", error=str(error))
    if leadership:
        await leadership.note_went_back()
    os._exit(1)


def _leadership(kube: Kube, settings: Settings) -> Leadership | None:
    """Our side of the Lease; None where there is none to hold."""
    if not settings.lease:
        return None
    identity = settings.identity or f"{socket.gethostname()}_{secrets.token_hex(4)}"
    lease = (settings.operator_namespace, settings.lease)
    # CLOCK_BOOTTIME goes on while the machine is suspended, and so does everybody else's time
    return Leadership(
        kube, lease, identity, lambda: time.clock_gettime(time.CLOCK_BOOTTIME), lambda: dt.datetime.now(dt.UTC)
    )


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def _begin(intake: Intake, leadership: Leadership | None, listed: asyncio.Event, works: asyncio.Event) -> None:
    """Lets the workers begin once we lead, and know what was done by who led before: our watches may be behind."""
    since = -math.inf
    if leadership:
        await leadership.leading.wait()
        since = time.monotonic()
    await listed.wait()
    await _until_it_answers(partial(intake.relist_slots, since), leadership)
    works.set()


async def _until_it_answers(lists: Callable[[], Awaitable[None]], leadership: Leadership | None) -> None:
    """Lists, as soon as the API server answers; raises KubeError for what waiting does not heal."""
    while True:
        try:
            await lists()
        except (UnavailableError, ConflictError) as error:  # the latter: history went while a list was read
            log.warning("waiting for the API server", error=str(error))
            await asyncio.sleep(EVERY_S)
        except WentBackError as error:
            await _begin_anew(error, leadership)
        else:
            return


async def _watch(
    settings: Settings,
    kopf_settings: kopf.OperatorSettings,
    intake: Intake,
    stop: asyncio.Event | None,
    ready: asyncio.Event,
) -> None:
    """kopf's part: discovery, list and watch with reconnects, signals; ends by a signal or with a dead watch."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry, id="login")
    def _login(settings: kopf.OperatorSettings, **_: object) -> kopf.ConnectionInfo | None:
        # asked again whenever the API server refuses: the token is another one every hour
        return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)

    register(registry, intake, settings)
    await kopf.operator(
        registry=registry,
        settings=kopf_settings,
        standalone=True,
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        stop_flag=stop,
        ready_flag=ready,
    )


async def _work(world: World, queue: WorkQueue[QueueKey], works: asyncio.Event) -> None:
    """One worker: a key at a time; a failed pass comes back later and stops nobody else's."""
    await works.wait()
    while True:
        key = await queue.get()
        started = time.monotonic()
        at_least = 0.0
        with structlog.contextvars.bound_contextvars(**_named(key)):
            try:
                again = await run_pass(world, key)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001  # the task's edge: one broken object never stops another
                if isinstance(error, UnavailableError):
                    at_least = error.retry_after_s
                _log_failure(key, error)
                queue.failed(key, at_least)
            else:
                queue.done(key)
                if again is not None:
                    queue.add_after(key, again)
        metrics.reconciles.labels(kind=key.kind).inc()
        metrics.reconcile_seconds.labels(kind=key.kind).observe(time.monotonic() - started)


def _named(key: QueueKey) -> dict[str, str]:
    """The fields of every line of a pass; by `lane` every line about one is found, whoever writes it."""
    lane = {"lane": f"{key.namespace}/{key.name}"} if key.kind == SENDING_LANE.kind else {}
    return {"kind": key.kind, "namespace": key.namespace, "name": key.name, **lane}


def _log_failure(key: QueueKey, error: Exception) -> None:
    metrics.reconcile_errors.labels(kind=key.kind, reason=type(error).__name__).inc()
    if isinstance(error, ConflictError):
        log.debug("changed meanwhile", error=str(error))
    elif isinstance(error, KubeError):
        log.warning("pass failed", error=str(error), status=error.status)
    else:
        log.error("pass failed", exc_info=error)


async def _keep_resyncing(intake: Intake, settings: Settings, leadership: Leadership | None) -> None:
    """Lists and compares, again and again; a list that fails is tried at the next turn."""
    while True:
        await asyncio.sleep(settings.resync_s * random.uniform(0.9, 1.1))  # noqa: S311  # jitter, no secret
        try:
            await intake.resync()
        except KubeError as error:
            log.warning("resync failed", error=str(error))
        except WentBackError as error:
            await _begin_anew(error, leadership)


async def _keep_watching(intake: Intake, kind: Kind, namespace: str | None, leadership: Leadership | None) -> None:
    """Follows one collection of what we make."""
    try:
        await intake.watch(kind, namespace)
    except WentBackError as error:
        await _begin_anew(error, leadership)


async def _keep_looking_for_kinds(intake: Intake, settings: Settings, leadership: Leadership | None) -> None:
    """Notices optional kinds that are installed or removed, without rights to watch definitions."""
    while True:
        await asyncio.sleep(settings.secret_recheck_s)
        try:
            await intake.look_for_kinds()
        except KubeError as error:
            log.warning("discovery failed", error=str(error))
        except WentBackError as error:
            await _begin_anew(error, leadership)


async def _gauges(queue: WorkQueue[QueueKey], leading: asyncio.Event) -> None:
    """The queue's figures; what a replica that waits has in its queue waits for nobody."""
    while True:
        metrics.queue_depth.set(queue.depth if leading.is_set() else 0)
        metrics.oldest_key_seconds.set(queue.oldest_s if leading.is_set() else 0)
        await asyncio.sleep(1)


async def _http(settings: Settings, queue: WorkQueue[QueueKey], world: World, ready: asyncio.Event) -> None:
    """Metrics and probes; alive means that no worker hangs."""

    async def livez(_: web.Request) -> web.Response:
        stuck = queue.longest_pass_s > STUCK_S
        return web.Response(status=500 if stuck else 200, text="a pass hangs\n" if stuck else "ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=200 if ready.is_set() else 503, text="ok\n" if ready.is_set() else "starting\n")

    async def figures(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", figures)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.http_host or None, settings.http_port).start()
        log.info("serving", port=settings.http_port, lanes=sum(1 for _ in world.cache.all(SENDING_LANE.kind)))
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False  # events are ours to post, on transitions only
    settings.persistence.finalizer = "lanewright.dev/kopf-unused"  # no handler of ours asks for one
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.execution.default_backoff = 5
    return settings


def _log_as_json(level: str) -> None:
    """One JSON object a line, ours and the libraries' alike."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
