"""The page at ``/docs`` and the API's schema: self-contained, nothing from elsewhere."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.i18n import Language
from server.records import domain, example_row
from server.scoring import ScoringService

ENDPOINTS = (
    ("POST", "/v1/score", "Score one borrower or several", "为一个或多个借款人评分"),
    ("GET", "/v1/model", "The model in service and its features", "当前模型及其特征"),
    ("GET", "/healthz", "Liveness", "存活检查"),
    ("GET", "/openapi.json", "OpenAPI schema of all this", "OpenAPI 接口描述"),
)


def render(service: ScoringService, lang: Language, nonce: str) -> str:
    """Return the page.

    Parameters
    ----------
    service : ScoringService
        The service it documents and tries out.
    lang : {"zh", "en"}
        Language of the page.
    nonce : str
        What the content security policy lets run.
    """
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        Path(__file__).with_name("docs.html").read_text("utf-8")
    )
    catalogue = service.model.catalogue
    row = example_row(catalogue)
    short = dict(list(row.items())[:3])
    features = [
        {
            "name": f.name,
            "title": (f.title.zh if lang == "zh" else f.title.en) if f.title else f.name,
            "domain": domain(f),
            "unit": f.unit,
            "range": f.range,
            "categories": f.categories,
            "missing": ", ".join(f"{m:g}" if isinstance(m, float) else m for m in f.missing),
        }
        for f in catalogue.features
    ]
    return template.render(
        zh=lang == "zh",
        nonce=nonce,
        info=service.info,
        features=features,
        row=row,
        endpoints=[(m, path, zh if lang == "zh" else en) for m, path, en, zh in ENDPOINTS],
        short=json.dumps({"features": short, "lang": lang}, ensure_ascii=False),
        lang=lang,
    )


def with_features(openapi: dict[str, Any], catalogue: FeatureCatalogue) -> dict[str, Any]:
    """Put the catalogue's features, with their domains, into the API's schema."""
    properties: dict[str, Any] = {}
    for f in catalogue.features:
        codes = {"x-missing": list(f.missing)} if f.missing else {}
        if f.categories:
            domain: dict[str, Any] = {"enum": [*f.categories, None], "type": ["string", "null"]}
        else:
            low, high = f.range or (None, None)
            domain = {"type": ["number", "null"], "minimum": low, "maximum": high}
        title = {"title": f.title.en, "x-title-zh": f.title.zh} if f.title else {}
        unit = {"description": f"unit: {f.unit}"} if f.unit else {}
        properties[f.name] = {**domain, **title, **unit, **codes}
    schemas = openapi["components"]["schemas"]
    schemas["Features"] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
    }
    reference = {"$ref": "#/components/schemas/Features"}
    schemas["Borrower"]["properties"]["features"] = reference
    schemas["ScoreRequest"]["properties"]["features"] = {"anyOf": [reference, {"type": "null"}]}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return openapi
