"""A consortium on disk.

::

    consortium.json               seed, size, fingerprint, version of the layout
    mapping.yaml                  how to read institutions/*.parquet
    institutions/ID.parquet       what one institution holds, in a bank's layout
    networks/guarantees.parquet   guarantor, borrower (USCC), amount (CNY), kind
    networks/supply_chain.parquet supplier, buyer (USCC), amount (CNY), tier
    panel/drivers.parquet         macro drivers by quarter
    panel/counts.parquet          performing borrowers and defaults by institution, sector, quarter
    truth/enterprises.parquet     clean features, true PD, hidden risk: nobody holds this in life
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from haihe_fl.data.cohort import Cohort
from haihe_fl.data.mapping import load_mapping
from haihe_fl.data.readers import read_cohort
from haihe_fl.data.synth import layout
from haihe_fl.data.synth.config import categories, tianjin_catalogue, tianjin_institutions
from haihe_fl.data.synth.consortium import Consortium, Enterprises
from haihe_fl.data.synth.networks import GUARANTEES, Edges, Index
from haihe_fl.errors import IntegrityError, UserError

LAYOUT = 1
_TRUTH = ("hidden", "true_pd", "label", "date", "sales", "net_worth", "cash")
_NETWORKS = {
    "guarantees": ("guarantor", "borrower", "kind"),
    "supply_chain": ("supplier", "buyer", "tier"),
}


def save(consortium: Consortium, folder: Path) -> list[Path]:
    """Write a consortium; return the files written, in the order written."""
    written: list[Path] = []

    def target(name: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written.append(path)
        return path

    for place, (name, cohort) in enumerate(consortium.cohort.by_institution().items()):
        frame = layout.table(cohort, coded=place % 2 == 0)
        frame.to_parquet(target(f"institutions/{name}.parquet"), index=False)
    target("mapping.yaml").write_text(
        "# How to read institutions/*.parquet; see docs/mapping.md.\n"
        + yaml.safe_dump(layout.mapping(consortium.cohort), allow_unicode=True, sort_keys=False),
        encoding="utf-8",
    )
    people = consortium.enterprises
    for name, (source, to, kind) in _NETWORKS.items():
        edges: Edges = getattr(consortium, name)
        what = np.array(GUARANTEES)[edges.kind] if name == "guarantees" else edges.kind
        pd.DataFrame(
            {
                source: people.key[edges.source],
                to: people.key[edges.target],
                "amount": edges.amount,
                kind: what,
            }
        ).to_parquet(target(f"networks/{name}.parquet"), index=False)
    _save_panel(consortium, target("panel/drivers.parquet"), target("panel/counts.parquet"))
    catalogue = consortium.cohort.catalogue
    columns: dict[str, Any] = {"key": people.key}
    columns |= {name: getattr(people, name) for name in _TRUTH}
    columns |= {f.name: people.values[:, j] for j, f in enumerate(catalogue.features)}
    pd.DataFrame(columns).to_parquet(target("truth/enterprises.parquet"), index=False)
    about = {
        "layout": LAYOUT,
        "seed": consortium.seed,
        "enterprises": len(people),
        "records": len(consortium.cohort),
        "catalogue": catalogue.fingerprint,
        "institutions": [i.id for i in consortium.institutions],
        "fingerprint": consortium.fingerprint,
    }
    target("consortium.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return written


def _save_panel(consortium: Consortium, drivers: Path, counts: Path) -> None:
    panel = consortium.panel()
    quarters, lenders, sectors = panel.performing.shape
    frame = pd.DataFrame(panel.drivers, columns=list(panel.satellite.drivers))
    frame.insert(0, "quarter", np.arange(1, quarters + 1))
    frame.to_parquet(drivers, index=False)
    t, b, s = (x.ravel() for x in np.indices((quarters, lenders, sectors)))
    pd.DataFrame(
        {
            "quarter": t + 1,
            "institution": np.array(panel.institutions)[b],
            "sector": np.array(panel.sectors)[s],
            "performing": panel.performing.ravel(),
            "defaults": panel.defaults.ravel(),
        }
    ).to_parquet(counts, index=False)


def load(folder: Path) -> Consortium:
    """Read a consortium that :func:`save` wrote.

    Raises
    ------
    UserError
        H2061 if the folder holds no consortium of this layout and catalogue.
    IntegrityError
        H5060 if the files are not those that were written.
    """
    try:
        about = json.loads((folder / "consortium.json").read_text(encoding="utf-8"))
        fits = (about["layout"], about["catalogue"]) == (LAYOUT, tianjin_catalogue().fingerprint)
        known = {i.id: i for i in tianjin_institutions()}
        institutions = tuple(known[name] for name in about["institutions"])
    except (OSError, ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise UserError(
            "H2061",
            en=f"{folder} holds no synthetic consortium of this version; write it anew",
            zh=f"{folder} 中没有本版本的合成联合体数据;请重新生成",
        )
    people = _enterprises(folder)
    order = np.argsort(people.key)
    ids = people.key[order]

    def place(codes: NDArray[np.str_]) -> Index:
        at = np.searchsorted(ids, codes).clip(max=len(ids) - 1)
        found: Index = order[at].astype(np.int64)
        return found

    edges = {name: _edges(folder / f"networks/{name}.parquet", name, place) for name in _NETWORKS}
    read = load_mapping(folder / "mapping.yaml")
    parts = [read_cohort(folder / f"institutions/{i.id}.parquet", read) for i in institutions]
    key = np.concatenate([p.key for p in parts])
    who = place(key)
    district = np.array(categories("district"))
    cohort = Cohort(
        catalogue=tianjin_catalogue(),
        values=np.concatenate([p.values for p in parts]),
        label=np.concatenate([p.label for p in parts]),
        key=key,
        institution=np.concatenate([p.institution for p in parts]),
        date=people.date[who],
        extra={
            "ead": np.concatenate([p.extra["ead"] for p in parts]),
            "lgd": np.concatenate([p.extra["lgd"] for p in parts]),
            "sector": np.array(categories("sector"))[people.sector[who]],
            "district": district[people.district[who]],
            "true_pd": people.true_pd[who],
            "enterprise": who,
        },
    )
    loaded = Consortium(
        cohort, people, edges["guarantees"], edges["supply_chain"], institutions, about["seed"]
    )
    if loaded.fingerprint != about["fingerprint"]:
        raise IntegrityError(
            "H5060",
            en=f"{folder}: the files differ from those that were written; write them anew",
            zh=f"{folder} 中的文件与生成时不一致;请重新生成",
        )
    return loaded


def _enterprises(folder: Path) -> Enterprises:
    frame = pd.read_parquet(folder / "truth/enterprises.parquet")
    catalogue = tianjin_catalogue()
    values = frame[list(catalogue.names)].to_numpy(np.float32)
    return Enterprises(
        key=frame["key"].to_numpy(np.str_),
        sector=values[:, catalogue.index("sector")].astype(np.int8),
        district=values[:, catalogue.index("district")].astype(np.int8),
        values=np.ascontiguousarray(values),
        hidden=frame["hidden"].to_numpy(np.float64),
        true_pd=frame["true_pd"].to_numpy(np.float64),
        label=frame["label"].to_numpy(np.int8),
        date=frame["date"].to_numpy().astype("datetime64[D]"),
        sales=frame["sales"].to_numpy(np.float64),
        net_worth=frame["net_worth"].to_numpy(np.float64),
        cash=frame["cash"].to_numpy(np.float64),
    )


def _edges(path: Path, name: str, place: Callable[[NDArray[np.str_]], Index]) -> Edges:
    source, target, kind = _NETWORKS[name]
    frame = pd.read_parquet(path)
    what = frame[kind]
    if name == "guarantees":
        what = what.map({k: i for i, k in enumerate(GUARANTEES)})
    return Edges(
        place(frame[source].to_numpy(np.str_)),
        place(frame[target].to_numpy(np.str_)),
        frame["amount"].to_numpy(np.float64),
        what.to_numpy().astype(np.int8),
    )
