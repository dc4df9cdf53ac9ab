"""The kinds of packages that such handlers use most: each is deployed in a small handler, and called once."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator

import pytest

from tests.acceptance.api import Api, bundle
from tests.acceptance.server import Server, until

HANDLERS = {
    "pandas": (
        "import pandas as pd",
        "pd.Series([1, 2, 6], index=pd.date_range('2026-01-01', periods=3)).resample('2D').sum().tolist()",
        [3, 6],
    ),
    "numpy": ("import numpy as np", "np.linalg.solve([[2, 0], [0, 4]], [2, 4]).tolist()", [1.0, 1.0]),
    "scipy": ("from scipy import optimize", "round(optimize.brentq(lambda x: x * x - 4, 0, 9), 6)", 2.0),
    "scikit-learn": (
        "from sklearn.linear_model import LinearRegression",
        "round(float(LinearRegression().fit([[1], [2], [3]], [2, 4, 6]).predict([[4]])[0]), 6)",
        8.0,
    ),
    "pyarrow": ("import pyarrow as pa, pyarrow.compute as pc", "pc.sum(pa.array([1, 2, 6])).as_py()", 9),
    "polars": ("import polars as pl", "pl.DataFrame({'a': [1, 2, 6]})['a'].mean()", 3.0),
    "matplotlib": (
        "import io, matplotlib.pyplot as plt",
        "(out := io.BytesIO(), plt.plot([1, 2, 6]), plt.savefig(out), out.getvalue()[1:4].decode())[-1]",
        "PNG",
    ),
    "numba": ("import numba\ntwice = numba.njit(cache=True)(lambda x: 2 * x)", "twice(21)", 42),
    "statsmodels": (
        "import statsmodels.api as sm",
        "round(float(sm.OLS([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]).fit().params[0]), 6)",
        2.0,
    ),
    "indsl": (
        "import pandas as pd\nfrom indsl.resample import interpolate",
        "len(interpolate(pd.Series([1.0, 2.0, 6.0], index=pd.date_range('2026-01-01', periods=3, freq='60s')), granularity=pd.Timedelta('30s'))) > 1",
        True,
    ),
    "requests httpx": ("import requests, httpx", "[requests.Request('GET', 'http://a').prepare().url, str(httpx.URL('http://a'))]", ["http://a/", "http://a"]),
    "pydantic": (
        "import pydantic\nclass Point(pydantic.BaseModel):\n    x: int",
        "Point.model_validate({'x': '7'}).model_dump()",
        {"x": 7},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Server(tmp_path_factory.mktemp("packages")) as server, Api(server.environment()) as bare:
        yield bare


@pytest.mark.parametrize("packages", HANDLERS)
def test_a_handler_that_uses_it_deploys_and_runs(api: Api, packages: str) -> None:
    imports, result, expected = HANDLERS[packages]
    handler = textwrap.dedent(f"{imports}\n\ndef handle(data):\n    return {result}\n")
    began = time.monotonic()
    made = api.create(bundle(handler=handler, requirements="\n".join(packages.split()) + "\n"), name=packages)

    def ended() -> dict[str, object] | None:
        function = api.get(f"/functions/{made['id']}").json()
        return function if function["status"] in ("Ready", "Failed") else None

    function = until(ended, 900, f"{packages} is deployed")
    assert function["status"] == "Ready", function["error"]
    deployed = time.monotonic()
    call = api.call(made["id"], {}, seconds=300)
    assert call["status"] == "Completed", "\n".join(api.logs(call))
    assert api.response(call) == expected
    print(f"{packages:16} deployed in {deployed - began:6.1f} s, called in {time.monotonic() - deployed:5.2f} s")
