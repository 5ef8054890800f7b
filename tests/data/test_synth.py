import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from haihe_fl.data.checks import check
from haihe_fl.data.mapping import load_mapping
from haihe_fl.data.synth import (
    GUARANTEES,
    Consortium,
    categories,
    is_uscc,
    load,
    make_usccs,
    synthesise,
    tianjin_catalogue,
    tianjin_institutions,
    true_logit,
)
from haihe_fl.data.synth.layout import table_cells
from haihe_fl.errors import IntegrityError, UserError

DEPARTMENTS = {
    "market_regulation",
    "taxation",
    "courts",
    "ecology_environment",
    "human_resources_social_security",
    "medical_insurance",
    "housing_fund",
    "customs",
    "commerce",
    "science_technology",
    "intellectual_property",
    "industry_it",
    "development_reform",
    "finance",
    "public_security",
    "housing_construction",
    "planning_natural_resources",
    "agriculture",
    "water",
    "electric_power",
    "gas",
    "emergency_management",
    "health",
    "drug_regulation",
    "transport",
    "statistics",
    "local_financial_supervision",
    "central_bank_credit_registry",
}


@pytest.fixture(scope="module")
def city() -> Consortium:
    return synthesise(enterprises=30_000, seed=2023)


def auc(score, label):
    rank = np.argsort(np.argsort(score)) + 1.0
    bad = label == 1
    return (rank[bad].mean() - (bad.sum() + 1) / 2) / (~bad).sum()


# the catalogue and the institutions


def test_the_catalogue_covers_departments_and_names_real_holders():
    catalogue = tianjin_catalogue()
    kinds = {i.kind for i in tianjin_institutions()}
    assert len(catalogue.names) == 40
    assert len(DEPARTMENTS) == 28
    assert {f.department for f in catalogue.features} <= DEPARTMENTS
    assert len({f.department for f in catalogue.features}) == 19
    assert {k for f in catalogue.features for k in f.holders} == kinds
    assert all(f.title and f.holders and f.missing for f in catalogue.features)
    assert len(categories("sector")) == 12 and len(categories("district")) == 16


def test_there_is_one_institution_of_each_kind():
    institutions = tianjin_institutions()
    assert len(institutions) == len({i.kind for i in institutions}) == 23
    assert len({i.id for i in institutions}) == len({i.name.zh for i in institutions}) == 23
    assert all(set(i.sector_tilt) <= set(categories("sector")) for i in institutions)


def test_no_code_for_a_gap_lies_in_the_range_of_its_feature():
    for f in tianjin_catalogue().features:
        if f.range is not None:
            assert not any(f.range[0] <= float(code) <= f.range[1] for code in f.missing), f.name
        else:
            assert not set(f.missing) & set(f.categories or ()), f.name


# social credit codes


def test_codes_are_valid_distinct_and_carry_their_district(city):
    keys = city.enterprises.key
    assert len(np.unique(keys)) == len(keys)
    assert all(is_uscc(k) for k in keys[:3000])
    assert {k[:4] for k in keys.tolist()} == {"9112"}
    per_district = {(k[2:8], int(d)) for k, d in zip(keys, city.enterprises.district, strict=True)}
    assert len(per_district) == 16


def test_a_changed_character_is_noticed():
    code = str(make_usccs(np.array([4]), start=99)[0])
    for place in range(18):
        other = "0" if code[place] != "0" else "1"
        assert not is_uscc(code[:place] + other + code[place + 1 :])
    assert not is_uscc(code.lower()) and not is_uscc(code + "0")


def organisation_check(code):
    """GB 11714-1997, written out by hand."""
    values = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    weights = (3, 7, 9, 10, 5, 8, 4, 2)
    left = 11 - sum(w * values.index(c) for w, c in zip(weights, code, strict=True)) % 11
    return {10: "X", 11: "0"}.get(left, str(left))


def test_the_organisation_code_has_its_own_check_character():
    assert organisation_check("M000100Y") == "4"  # of the standard's example 91350100M000100Y43
    for code in make_usccs(np.arange(400) % 16, start=12345).tolist():
        assert code[16] == organisation_check(code[8:16])


# the records


def test_the_seed_decides_everything(city):
    small = synthesise(enterprises=2_000, seed=5)
    again = synthesise(enterprises=2_000, seed=5)
    assert small.fingerprint == again.fingerprint
    assert (small.panel(4).defaults == again.panel(4).defaults).all()
    assert small.fingerprint != synthesise(enterprises=2_000, seed=6).fingerprint


@pytest.mark.parametrize(("enterprises", "seed"), [(10, 1), (10**7, 1), (1000, -1)])
def test_impossible_sizes_are_refused(enterprises, seed):
    with pytest.raises(UserError, match="H2060"):
        synthesise(enterprises, seed)


def test_values_lie_in_their_public_domain(city):
    for values in (city.cohort.values, city.enterprises.values):
        for j, f in enumerate(city.cohort.catalogue.features):
            column = values[:, j][~np.isnan(values[:, j])].astype(np.float64)
            assert len(column), f.name
            assert len(np.unique(column)) > 1, f.name
            if f.range is not None:
                low, high = f.range
                assert column.min() >= low and column.max() <= high, f.name
            else:
                seen = set(column.tolist())
                assert seen == set(range(len(f.categories or ()))), f.name
    assert not np.isnan(city.enterprises.values).any()


def test_the_default_rate_and_the_ranking_power_of_the_truth(city):
    people = city.enterprises
    assert 0.05 < people.label.mean() < 0.065
    assert 0.80 < auc(people.true_pd, people.label) < 0.86


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_rate_does_not_hang_on_the_seed(seed):
    assert 0.048 < synthesise(10_000, seed).enterprises.true_pd.mean() < 0.066


def test_the_true_pd_is_calibrated(city):
    people = city.enterprises
    order = np.argsort(people.true_pd)
    for decile in np.array_split(order, 10):
        pd = people.true_pd[decile]
        off = people.label[decile].sum() - pd.sum()
        assert abs(off) < 4 * np.sqrt((pd * (1 - pd)).sum())


def test_who_lends_does_not_change_the_truth(city):
    for name, cohort in city.cohort.by_institution().items():
        pd = cohort.extra["true_pd"].astype(np.float64)
        assert abs(cohort.label.sum() - pd.sum()) < 4 * np.sqrt((pd * (1 - pd)).sum()), name


def test_the_truth_is_monotone_where_the_catalogue_says_so(city):
    catalogue, people = city.cohort.catalogue, city.enterprises
    some = people.values[:500]
    for j, f in enumerate(catalogue.features):
        if not f.direction:
            continue
        grid = np.linspace(*f.range, 200) if f.range else np.arange(len(f.categories or ()))
        logits = []
        for x in grid:
            changed = some.copy()
            changed[:, j] = x
            logits.append(true_logit(catalogue, changed, people.hidden[:500]))
        steps = f.direction * np.diff(logits, axis=0)
        assert steps.min() > -1e-9, f.name
        assert steps.max() > 0, f.name


def test_the_truth_can_be_computed_again_from_the_enterprises(city):
    people = city.enterprises
    logit = true_logit(city.cohort.catalogue, people.values, people.hidden)
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), people.true_pd, rtol=1e-12)


def test_a_boosted_model_learns_most_of_the_truth_but_not_all(city):
    lightgbm = pytest.importorskip("lightgbm")
    held = city.cohort.holdout(0.3)
    x, y = city.cohort.values, city.cohort.label
    names = [j for j, f in enumerate(city.cohort.catalogue.features) if f.kind == "category"]
    settings = {
        **{"objective": "binary", "learning_rate": 0.05, "num_leaves": 15, "num_threads": 1},
        **{"feature_fraction": 0.5, "lambda_l2": 5.0, "verbose": -1, "seed": 1},
    }
    data = lightgbm.Dataset(x[~held], y[~held], categorical_feature=names)
    learnt = auc(lightgbm.train(settings, data, 150).predict(x[held]), y[held])
    assert 0.77 < learnt < 0.83
    assert learnt < auc(city.cohort.extra["true_pd"][held], y[held]) - 0.01


# the institutions' views


def test_institutions_differ_in_size_sector_and_default_rate(city):
    books = city.cohort.by_institution()
    assert set(books) == {i.id for i in tianjin_institutions()}
    sizes = {name: len(book) for name, book in books.items()}
    assert max(sizes.values()) > 15 * min(sizes.values())
    micro, state = books["sancha_micro_lender"], books["haihe_state_bank"]
    assert micro.label.mean() > 2.5 * state.label.mean()
    assert np.median(state.extra["ead"]) > 5 * np.median(micro.extra["ead"])

    def share(name, sector):
        return (books[name].extra["sector"] == sector).mean()

    assert share("auto_parts_association", "auto_parts") > 0.5
    assert share("wuqing_village_bank", "agri_food") > 3 * share("haihe_state_bank", "agri_food")


def test_customers_overlap_and_carry_one_outcome(city):
    cohort, people = city.cohort, city.enterprises
    _, lenders = np.unique(cohort.key, return_counts=True)
    assert len(lenders) == len(people)
    assert 1.3 < lenders.mean() < 1.6
    assert lenders.max() >= 4
    pairs = np.char.add(cohort.key, cohort.institution)
    assert len(np.unique(pairs)) == len(cohort)
    who = cohort.extra["enterprise"].astype(int)
    assert (cohort.key == people.key[who]).all()
    assert (cohort.label == people.label[who]).all()
    assert (cohort.extra["sector"] == np.array(categories("sector"))[people.sector[who]]).all()


def test_gaps_tell_something_and_differ_between_institutions(city):
    cohort = city.cohort
    gaps = np.isnan(cohort.values)
    assert 0.02 < gaps.mean() < 0.10
    books = cohort.by_institution()
    assert (
        np.isnan(books["sancha_micro_lender"].values).mean()
        > 1.5 * np.isnan(books["haihe_state_bank"].values).mean()
    )
    hole = gaps[:, cohort.catalogue.index("debt_ratio")]
    usual = {name: book.label.mean() for name, book in books.items()}
    expected = sum(usual[str(i)] for i in cohort.institution[hole])
    assert cohort.label[hole].sum() > 1.15 * expected  # not only because such lenders have gaps


def test_lenders_see_nearly_the_same_statement(city):
    j = city.cohort.catalogue.index("quick_ratio")
    clean = city.enterprises.values[city.cohort.extra["enterprise"].astype(int), j]
    seen = city.cohort.values[:, j]
    known = ~np.isnan(seen) & (clean > 0.1) & (clean < 15)
    ratio = seen[known] / clean[known] - 1
    assert 0.02 < ratio.std() < 0.04
    assert abs(ratio.mean()) < 0.002


def test_exposures_are_skewed_and_losses_are_shares(city):
    ead, lgd = city.cohort.extra["ead"], city.cohort.extra["lgd"]
    assert ead.min() > 0
    assert ead.mean() > 1.5 * np.median(ead)
    assert lgd.min() >= 0 and lgd.max() <= 1
    assert 0.35 < lgd.mean() < 0.55


# the networks


def test_edges_join_different_enterprises_once(city):
    n = len(city.enterprises)
    for edges in (city.guarantees, city.supply_chain):
        assert edges.source.min() >= 0 and edges.source.max() < n
        assert edges.target.min() >= 0 and edges.target.max() < n
        assert (edges.source != edges.target).all()
        assert len(np.unique(edges.source * n + edges.target)) == len(edges)
        assert (edges.amount > 0).all() and np.isfinite(edges.amount).all()
    assert 2 < (len(city.guarantees) + len(city.supply_chain)) / n < 3.2


def test_guarantees_form_circles_and_joint_groups(city):
    n, edges = len(city.enterprises), city.guarantees

    def strong(kind):
        chosen = edges.kind == GUARANTEES.index(kind)
        graph = coo_matrix(
            (np.ones(chosen.sum()), (edges.source[chosen], edges.target[chosen])), (n, n)
        )
        _, part = connected_components(graph, directed=True, connection="strong")
        return part, np.bincount(part), chosen

    part, size, chosen = strong("circle")
    assert set(size[size > 1].tolist()) <= set(range(3, 9))
    assert (size > 2).sum() > 100
    part, size, chosen = strong("joint_group")
    assert set(size[size > 1].tolist()) <= {3, 4, 5}
    assert (size > 2).sum() > 100
    inside = np.bincount(part[edges.source[chosen]], minlength=len(size))
    groups = size > 1
    assert (inside[groups] == size[groups] * (size[groups] - 1)).all()  # each for each


def test_contingent_debt_is_that_of_the_network(city):
    people, edges = city.enterprises, city.guarantees
    given = np.bincount(edges.source, weights=edges.amount, minlength=len(people))
    ratio = (given / people.net_worth).clip(0, 5)
    j = city.cohort.catalogue.index("guarantee_ratio")
    np.testing.assert_allclose(people.values[:, j], ratio, atol=1e-4)


def test_the_supply_chain_runs_from_tier_to_tier(city):
    edges = city.supply_chain
    tier = np.full(len(city.enterprises), -1)
    tier[edges.source] = edges.kind
    assert set(edges.kind.tolist()) == {1, 2, 3}
    below = tier[edges.target[edges.kind > 1]]
    # A buyer of the tier above sells on, or its own sales left the city.
    assert set(below.tolist()) <= {1, 2}
    cores = np.unique(edges.target[edges.kind == 1])
    assert (tier[cores] == -1).all()
    assert len(cores) < 0.004 * len(city.enterprises)
    owed = np.bincount(edges.source, weights=edges.amount, minlength=len(city.enterprises))
    assert (owed < 2 * city.enterprises.sales).all()


# the panel


def test_drivers_have_the_stated_spread_and_sign(city):
    panel = city.panel(quarters=400)
    stated = panel.satellite.sigma
    np.testing.assert_allclose(panel.drivers.std(axis=0) / stated, 1, atol=0.25)
    adverse = panel.drivers * panel.satellite.sign / stated
    assert (np.sign(adverse) == np.sign(panel.z)).all()
    assert np.abs(panel.z).max() < panel.satellite.cap
    steps = [np.corrcoef(x[1:], x[:-1])[0, 1] for x in adverse.T]
    assert 0.65 < np.mean(steps) < 0.9


def test_a_simple_regression_finds_the_signs(city):
    panel = city.panel(quarters=40)
    n, d = panel.performing.sum(axis=1), panel.defaults.sum(axis=1)
    sectors = len(panel.sectors)
    effects = (panel.z[:, None, :] * panel.satellite.loading).reshape(n.size, -1)
    design = np.hstack([effects, np.tile(np.eye(sectors), (len(n), 1))])
    odds = np.log((d + 0.5) / (n - d + 0.5)).ravel()
    weight = np.sqrt(d + 0.5).ravel()
    found, *_ = np.linalg.lstsq(design * weight[:, None], odds * weight, rcond=None)
    assert (found[: effects.shape[1]] > 0).all()


@pytest.mark.parametrize("beta", [None, {"gdp_growth": 0.7, "lpr": 0.0, "cny_usd": -0.2}])
def test_the_true_equation_recovers_its_betas(city, beta):
    panel = city.panel(quarters=40, beta=beta)
    truth = panel.satellite
    if beta:
        used = dict(zip(truth.drivers, truth.beta, strict=True))
        assert used | beta == used
    n, d = panel.performing_by_grade.sum(axis=1), panel.defaults_by_grade.sum(axis=1)
    effects = panel.z[:, None, :] * truth.loading
    found = np.zeros(len(truth.beta))
    for _ in range(8):  # Fisher scoring of the hazard model
        logit = panel.grade_logit + (effects @ found)[..., None]
        pd = 1 / (1 + np.exp(-logit))
        hazard = 1 - (1 - pd) ** 0.25
        slope = 0.25 * (1 - hazard) * pd
        weight = slope / (hazard * (1 - hazard))
        score = ((d - n * hazard) * weight).sum(-1)
        inner = (n * slope * weight).sum(-1)
        information = np.einsum("tsk,tsl,ts->kl", effects, effects, inner)
        found += np.linalg.solve(information, np.einsum("tsk,ts->k", effects, score))
    error = np.sqrt(np.diag(np.linalg.inv(information)))
    assert np.abs((found - truth.beta) / error).max() < 4
    assert error.max() < 0.1


def test_books_keep_their_size_in_neutral_times(city):
    still = dict.fromkeys(city.panel(1).satellite.drivers, 0.0)
    total = city.panel(quarters=40, beta=still).performing.sum(axis=(1, 2))
    assert abs(total[-1] / total[0] - 1) < 0.03


def test_the_panel_counts_the_books(city):
    panel = city.panel(quarters=3)
    books = city.cohort.by_institution()
    for b, name in enumerate(panel.institutions):
        assert panel.performing[0, b].sum() == len(books[name])
        first = (books[name].extra["sector"] == panel.sectors[9]).sum()
        assert panel.performing[0, b, 9] == first
    assert (panel.defaults <= panel.performing).all()
    with pytest.raises(ValueError, match="no driver weather"):
        city.panel(beta={"weather": 1.0})


# on disk


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[Consortium, Path, list[Path]]:
    small = synthesise(enterprises=3_000, seed=8)
    folder = tmp_path_factory.mktemp("city")
    return small, folder, small.save(folder)


def test_what_is_saved_is_loaded(stored):
    small, folder, written = stored
    back = load(folder)
    assert back.fingerprint == small.fingerprint
    assert (back.cohort.date == small.cohort.date).all()
    assert (back.cohort.extra["district"] == small.cohort.extra["district"]).all()
    assert (back.panel(5).defaults == small.panel(5).defaults).all()
    assert sorted(written) == sorted(p for p in folder.rglob("*") if p.is_file())


def test_no_cell_is_lost_to_rounding():
    numbers = np.array([41_734_932, 0.6775, 4418.45, 1e-7, 131_072.0156, 0], dtype=np.float32)
    numbers = np.append(numbers, np.geomspace(1e-6, 1e8, 20_000, dtype=np.float32))
    for scale in (1.0, 0.01, 1e-4, 1e4):
        written = table_cells(numbers, scale)
        assert ((written * scale).astype(np.float32) == numbers).all()


def test_the_files_pass_the_check_of_their_mapping(stored):
    small, folder, _ = stored
    mapping = load_mapping(folder / "mapping.yaml")
    files = sorted((folder / "institutions").iterdir())
    assert len(files) == len(small.institutions)
    assert 40 < pd.read_parquet(files[1])["资产负债率(%)"].median() < 80
    for file in files:
        report = check(file, mapping)
        assert not [f for f in report.findings if f.severity == "fault"], file.name


def test_no_institution_is_given_the_truth(stored):
    _, folder, _ = stored
    columns = load_mapping(folder / "mapping.yaml").needed
    for file in (folder / "institutions").iterdir():
        assert set(pq.read_schema(file).names) == set(columns)


def test_a_changed_file_is_noticed(stored, tmp_path):
    small, _, _ = stored
    small.save(tmp_path)
    file = tmp_path / "institutions" / "haijin_trust.parquet"
    frame = pd.read_parquet(file)
    frame.loc[0, "成立年限"] += 1
    frame.to_parquet(file, index=False)
    with pytest.raises(IntegrityError, match="H5060"):
        load(tmp_path)
    about = json.loads((tmp_path / "consortium.json").read_text())
    (tmp_path / "consortium.json").write_text(json.dumps(about | {"layout": 0}))
    with pytest.raises(UserError, match="H2061"):
        load(tmp_path)
    with pytest.raises(UserError, match="H2061"):
        load(tmp_path / "nowhere")
