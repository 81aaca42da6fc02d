"""What the API is said to be, against what it is."""

import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import Route

from gateway.app import create_app
from gateway.body import Curfew
from gateway.openapi.reference import reference
from gateway.services.build import build
from gateway.settings import load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    settings = load_settings({"data_dir": tmp_path_factory.mktemp("data"), "upstream": "http://127.0.0.1:9"}, None)
    services = build(settings)
    return create_app(services, services.opened, Curfew())


def told(document: dict[str, dict[str, dict[str, object]]]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def test_every_route_is_told_and_none_that_is_not_there(app: FastAPI) -> None:
    served = told(get_openapi(title="", version="", routes=app.routes))
    plain = {
        (method, route.path)
        for route in app.routes
        if type(route) is Route and route.path != "/openapi.json"
        for method in route.methods or ()
    }

    assert told(app.openapi()) == served | plain


def test_every_reference_in_it_leads_somewhere_and_every_operation_has_a_name_of_its_own(app: FastAPI) -> None:
    document = app.openapi()
    text = json.dumps(document)

    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))


def test_the_reference_in_docs_is_of_this_api() -> None:
    assert (ROOT / "docs/api.md").read_text("utf-8") == reference(), "python -m gateway.openapi.reference > docs/api.md"
