"""Data classes of the API, all under one roof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvern.client.data_classes.files import (
    FileMetadata,
    FileMetadataCore,
    FileMetadataFilter,
    FileMetadataList,
    FileMetadataWrite,
    FileMetadataWriteList,
)
from kvern.client.data_classes.functions import (
    Function,
    FunctionCall,
    FunctionCallList,
    FunctionCallLog,
    FunctionCallLogEntry,
    FunctionCallsFilter,
    FunctionCore,
    FunctionFilter,
    FunctionHandle,
    FunctionList,
    FunctionSchedule,
    FunctionScheduleCore,
    FunctionSchedulesFilter,
    FunctionSchedulesList,
    FunctionScheduleWrite,
    FunctionScheduleWriteList,
    FunctionsLimits,
    FunctionsStatus,
    FunctionWrite,
    FunctionWriteList,
)
from kvern.client.data_classes.iam import (
    ClientCredentials,
    CreatedSession,
    ProjectSpec,
    RevokedSession,
    RevokedSessionList,
    Session,
    SessionList,
    TokenInspection,
)
from kvern.client.data_classes.shared import (
    GeoLocation,
    GeoLocationFilter,
    Geometry,
    GeometryFilter,
    Label,
    LabelFilter,
    TimestampRange,
)

if TYPE_CHECKING:
    from kvern.client.content import FileMultipartUploadSession

__all__ = [
    "ClientCredentials",
    "CreatedSession",
    "FileMetadata",
    "FileMetadataCore",
    "FileMetadataFilter",
    "FileMetadataList",
    "FileMetadataWrite",
    "FileMetadataWriteList",
    "FileMultipartUploadSession",
    "Function",
    "FunctionCall",
    "FunctionCallList",
    "FunctionCallLog",
    "FunctionCallLogEntry",
    "FunctionCallsFilter",
    "FunctionCore",
    "FunctionFilter",
    "FunctionHandle",
    "FunctionList",
    "FunctionSchedule",
    "FunctionScheduleCore",
    "FunctionScheduleWrite",
    "FunctionScheduleWriteList",
    "FunctionSchedulesFilter",
    "FunctionSchedulesList",
    "FunctionWrite",
    "FunctionWriteList",
    "FunctionsLimits",
    "FunctionsStatus",
    "GeoLocation",
    "GeoLocationFilter",
    "Geometry",
    "GeometryFilter",
    "Label",
    "LabelFilter",
    "ProjectSpec",
    "RevokedSession",
    "RevokedSessionList",
    "Session",
    "SessionList",
    "TimestampRange",
    "TokenInspection",
]


def __getattr__(name: str) -> Any:
    # It sends requests, which the data classes themselves know nothing of.
    if name == "FileMultipartUploadSession":
        from kvern.client.content import FileMultipartUploadSession

        return FileMultipartUploadSession
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
