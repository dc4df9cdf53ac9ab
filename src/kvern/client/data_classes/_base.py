"""What all data classes and their lists share, under the roof where the official SDK has it."""

from __future__ import annotations

from kvern.client.data_classes._list import (
    CogniteResourceList,
    ExternalIDTransformerMixin,
    IdTransformerMixin,
    InternalIdTransformerMixin,
    T_CogniteResourceList,
    WriteableCogniteResourceList,
    attach,
)
from kvern.client.data_classes._resource import (
    CogniteFilter,
    CogniteResource,
    CogniteResourceWithClientRef,
    T_CogniteResource,
    T_WritableCogniteResource,
    T_WriteClass,
    WriteableCogniteResource,
    WriteableCogniteResourceWithClientRef,
    take_over,
)

__all__ = [
    "CogniteFilter",
    "CogniteResource",
    "CogniteResourceList",
    "CogniteResourceWithClientRef",
    "ExternalIDTransformerMixin",
    "IdTransformerMixin",
    "InternalIdTransformerMixin",
    "T_CogniteResource",
    "T_CogniteResourceList",
    "T_WritableCogniteResource",
    "T_WriteClass",
    "WriteableCogniteResource",
    "WriteableCogniteResourceList",
    "WriteableCogniteResourceWithClientRef",
    "attach",
    "take_over",
]
