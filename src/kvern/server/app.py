"""The whole API on one screen: method, path, who may, what is read, who answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from kvern.server.ask import Answer, Ask
from kvern.server.builds import BuildRoutes
from kvern.server.calls import CallRoutes
from kvern.server.clients import ClientRoutes
from kvern.server.datasets import DataSetRoutes
from kvern.server.description import DescriptionRoutes
from kvern.server.edge import edge
from kvern.server.files import FileRoutes
from kvern.server.function_apps import FunctionAppRoutes
from kvern.server.functions import FunctionRoutes
from kvern.server.groups import GroupRoutes
from kvern.server.health import HealthRoutes
from kvern.server.identity import IdentityRoutes
from kvern.server.metrics import MetricsRoutes
from kvern.server.schedules import ScheduleRoutes
from kvern.server.sessions import SessionRoutes
from kvern.service.service import Service
from kvern.wire import base, calls, clients, datasets, files, functions, groups, schedules, sessions

READ, WRITE, RUN = ("functionsAcl:READ",), ("functionsAcl:WRITE",), ("functionsAcl:RUN", "functionsAcl:WRITE")
FILES_READ, FILES_WRITE = ("filesAcl:READ",), ("filesAcl:WRITE",)
DATA_SETS_READ, DATA_SETS_WRITE = ("datasetsAcl:READ",), ("datasetsAcl:WRITE",)
SESSIONS_LIST, SESSIONS_CREATE, SESSIONS_DELETE = (
    ("sessionsAcl:LIST",),
    ("sessionsAcl:CREATE",),
    ("sessionsAcl:DELETE",),
)
GROUPS_LIST, GROUPS_CREATE, GROUPS_DELETE = ("groupsAcl:LIST",), ("groupsAcl:CREATE",), ("groupsAcl:DELETE",)
PROJECTS_UPDATE = ("projectsAcl:UPDATE",)
ANYONE: tuple[str, ...] = ()
"""Any good token."""

OPEN = None
"""No token: the link, or nothing, is proof enough."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    Args:
        path: relative to the project, unless it begins with `//`: then from the root.
        capability: alternatives of which one is needed; `OPEN` for routes without a token.
        body: the type of the JSON body; None where none is read.
    """

    method: str
    path: str
    capability: tuple[str, ...] | None
    body: Any
    handler: Callable[[Ask[Any]], Awaitable[Any]]


def routes(service: Service) -> list[Route]:
    f, c, s = FunctionRoutes(service), CallRoutes(service), ScheduleRoutes(service)
    n, d, i = SessionRoutes(service), FileRoutes(service), IdentityRoutes(service)
    o, t, a = DescriptionRoutes(), DataSetRoutes(service), FunctionAppRoutes(service)
    g, k = GroupRoutes(service), ClientRoutes(service)
    b, h, m = BuildRoutes(service), HealthRoutes(service), MetricsRoutes(service)
    one = "/functions/{function_id:int}"
    call = one + "/calls/{call_id:int}"
    schedule = "/functions/schedules/{schedule_id:int}"
    app = "/function-apps/{external_id:path}/calls"
    # fmt: off
    table = [
        Route("POST", one + "/call",                 RUN,             calls.CallWrite,           c.call),
        Route("GET",  call,                          READ,            None,                      c.retrieve),
        Route("GET",  call + "/response",            READ,            None,                      c.response),
        Route("GET",  call + "/logs",                READ,            None,                      c.logs),
        Route("GET",  one + "/calls",                READ,            None,                      c.list),
        Route("POST", one + "/calls/list",           READ,            calls.CallQuery,           c.filter),
        Route("POST", one + "/calls/byids",          READ,            base.Ids,                  c.by_ids),
        Route("POST", call + "/cancel",              RUN,             None,                      c.cancel),
        Route("POST", call + "/rerun",               RUN,             None,                      c.rerun),
        Route("GET",  call + "/attempts",            READ,            None,                      c.attempts),
        Route("GET",  one + "/calls/dead",           READ,            None,                      c.dead),
        Route("POST", one + "/calls/redrive",        RUN,             calls.CallIds,             c.redrive),

        Route("POST", "/functions",                  WRITE,           functions.FunctionWrites,  f.create),
        Route("GET",  "/functions",                  READ,            None,                      f.list),
        Route("POST", "/functions/list",             READ,            functions.FunctionQuery,   f.filter),
        Route("POST", "/functions/byids",            READ,            functions.FunctionIds,     f.by_ids),
        Route("POST", "/functions/delete",           WRITE,           functions.FunctionIds,     f.delete),
        Route("GET",  "/functions/limits",           READ,            None,                      f.limits),
        Route("GET",  "/functions/status",           READ,            None,                      f.status),
        Route("POST", "/functions/status",           WRITE,           None,                      f.activate),
        Route("GET",  one,                           READ,            None,                      f.retrieve),
        Route("GET",  one + "/lock",                 READ,            None,                      b.lock),
        Route("GET",  one + "/build-log",            READ,            None,                      b.log),

        Route("POST", "/functions/schedules",        WRITE,           schedules.ScheduleWrites,  s.create),
        Route("GET",  "/functions/schedules",        READ,            None,                      s.list),
        Route("POST", "/functions/schedules/list",   READ,            schedules.ScheduleQuery,   s.filter),
        Route("POST", "/functions/schedules/byids",  READ,            base.Ids,                  s.by_ids),
        Route("POST", "/functions/schedules/delete", WRITE,           schedules.ScheduleIds,     s.delete),
        Route("POST", "/functions/schedules/pause",  WRITE,           schedules.ScheduleIds,     s.pause),
        Route("POST", "/functions/schedules/resume", WRITE,           schedules.ScheduleIds,     s.resume),
        Route("GET",  schedule,                      READ,            None,                      s.retrieve),
        Route("GET",  schedule + "/input_data",      READ,            None,                      s.input_data),
        Route("GET",  schedule + "/ticks",           READ,            None,                      s.ticks),

        Route("GET",  "/function-apps",              READ,            None,                      a.apps),
        Route("POST", app,                           RUN,             calls.CallWrite,           a.run),
        Route("GET",  app,                           READ,            None,                      a.list),
        Route("GET",  app + "/{call_id:int}",        READ,            None,                      a.retrieve),
        Route("GET",  app + "/{call_id:int}/response", READ,          None,                      a.response),
        Route("GET",  app + "/{call_id:int}/logs",   READ,            None,                      a.logs),

        Route("POST", "/sessions",                   SESSIONS_CREATE, sessions.SessionWrites,    n.create),
        Route("GET",  "/sessions",                   SESSIONS_LIST,   None,                      n.list),
        Route("POST", "/sessions/byids",             SESSIONS_LIST,   sessions.SessionIds,       n.by_ids),
        Route("POST", "/sessions/revoke",            SESSIONS_DELETE, sessions.SessionIds,       n.revoke),

        Route("POST", "/files",                      FILES_WRITE,     files.FileWrite,           d.create),
        Route("GET",  "/files",                      FILES_READ,      None,                      d.list),
        Route("POST", "/files/list",                 FILES_READ,      files.FileQuery,           d.filter),
        Route("POST", "/files/byids",                FILES_READ,      files.FileIds,             d.by_ids),
        Route("POST", "/files/delete",               FILES_WRITE,     files.FileIds,             d.delete),
        Route("POST", "/files/update",               FILES_WRITE,     files.FileUpdates,         d.update),
        Route("POST", "/files/downloadlink",         FILES_READ,      files.DownloadIds,         d.download_link),
        Route("POST", "/files/uploadlink",           FILES_WRITE,     files.UploadIds,           d.upload_link),
        Route("POST", "/files/initmultipartupload",  FILES_WRITE,     files.FileWrite,           d.init_multipart),
        Route("POST", "/files/multiuploadlink",      FILES_WRITE,     files.UploadIds,           d.multipart_link),
        Route("POST", "/files/completemultipartupload", FILES_WRITE,  files.UploadEnd,           d.complete_multipart),
        Route("GET",  "/files/{file_id:int}",        FILES_READ,      None,                      d.retrieve),
        Route("PUT",  "//api/v1/files/upload/{proof}",   OPEN,        None,                      d.upload),
        Route("GET",  "//api/v1/files/download/{proof}", OPEN,        None,                      d.download),

        Route("POST", "/datasets",                   DATA_SETS_WRITE, datasets.DataSetWrites,    t.create),
        Route("POST", "/datasets/list",              DATA_SETS_READ,  datasets.DataSetQuery,     t.filter),
        Route("POST", "/datasets/byids",             DATA_SETS_READ,  datasets.DataSetIds,       t.by_ids),
        Route("POST", "/datasets/update",            DATA_SETS_WRITE, datasets.DataSetUpdates,   t.update),
        Route("GET",  "/securitycategories",         ANYONE,          None,                      t.security_categories),

        Route("GET",  "/groups",                     GROUPS_LIST,     None,                      g.list),
        Route("POST", "/groups",                     GROUPS_CREATE,   groups.GroupWrites,        g.create),
        Route("POST", "/groups/delete",              GROUPS_DELETE,   groups.GroupIds,           g.delete),

        Route("GET",  "/kvern/clients",              PROJECTS_UPDATE, None,                      k.list),
        Route("POST", "/kvern/clients",              PROJECTS_UPDATE, clients.ClientWrite,       k.add),
        Route("POST", "/kvern/clients/rotate",       PROJECTS_UPDATE, clients.ClientRotation,    k.rotate),
        Route("POST", "/kvern/clients/delete",       PROJECTS_UPDATE, clients.ClientIds,         k.remove),
        Route("POST", "/kvern/secrets/rotate-master", PROJECTS_UPDATE, None,                     k.rotate_master_key),

        Route("GET",  "",                            ANYONE,          None,                      i.project),
        Route("GET",  "/profiles/me",                ANYONE,          None,                      i.profile),
        Route("GET",  "//api/v1/projects",           ANYONE,          None,                      i.projects),
        Route("GET",  "//api/v1/token/inspect",      ANYONE,          None,                      i.inspect),
        Route("POST", "//oauth2/token",              OPEN,            None,                      i.token),
        Route("GET",  "//health",                    OPEN,            None,                      h.health),
        Route("GET",  "//ready",                     OPEN,            None,                      h.ready),
        Route("GET",  "//metrics",                   ANYONE,          None,                      m.metrics),
        Route("GET",  "//openapi.json",              OPEN,            None,                      o.openapi),
        Route("GET",  "//docs",                      OPEN,            None,                      o.reference),
    ]
    # fmt: on
    o.table = table
    return table


def build_app(service: Service) -> ASGIApp:
    """The service as an ASGI application; starting and stopping the service is the caller's."""
    return edge(service, routes(service))


__all__ = ["Answer", "Route", "build_app", "routes"]
