import pytest

from haihe_fl.data.synth.config import tianjin_catalogue, tianjin_institutions
from haihe_fl.data.titles import kind_title, sector_title, titles, value_title
from haihe_fl.stress.scenarios import load_scenarios


def test_every_sector_and_kind_has_a_title_of_its_own():
    sectors = load_scenarios().sectors
    kinds = {i.kind for i in tianjin_institutions()}
    assert set(titles().values["sector"]) == set(sectors)
    assert set(titles().kinds) == kinds
    for found in ([sector_title(s) for s in sectors], [kind_title(k) for k in kinds]):
        assert len({t.en for t in found}) == len({t.zh for t in found}) == len(found)
    assert all(i.kind_title == kind_title(i.kind) for i in tianjin_institutions())


@pytest.mark.parametrize("feature", titles().values)
def test_titles_are_those_of_the_catalogue_s_categories(feature):
    catalogue = tianjin_catalogue()
    known = catalogue.features[catalogue.index(feature)].categories
    assert set(titles().values[feature]) == set(known)


def test_a_value_without_a_title_is_shown_as_it_stands():
    assert value_title("colour", "red").zh == "red" and kind_title("shop").en == "shop"
