"""The ingredients of the model in the box, taken out one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("timm")

import torch

from benchmarks import mini_ingredients, mini_teacher
from benchmarks.mini_ingredients import VARIANTS, Recipe
from recipes.mini_films import films
from recipes.mini_teacher import Network
from tests.support.minidata import nih, write_data


def test_smaller_copies_and_fewer_films(tmp_path: Path) -> None:
    names = [f"{n:08d}_000.png" for n in range(1, 40)]
    data = write_data(
        tmp_path,
        {
            "nih_more": [nih(f"images/{name}", "Mass") for name in names[:20]],
            "nih128": [nih(name) for name in names[10:]],
            "nih64": [nih(name) for name in names[10:15]],
        },
    )
    listed = films(data)
    chosen = {film.name for film in listed if mini_ingredients.in_small(film, set())}
    assert 0 < len(chosen) < len(listed) / 2
    boxed = {Path(name).stem for name in names}  # every film, so that all are chosen
    assert set(mini_ingredients.images_of(listed, Recipe(), set(), data)) == {
        film.path for film in listed if film.name in chosen
    }
    whole = mini_ingredients.images_of(listed, Recipe(), boxed, data)
    assert whole == {film.path: film.path for film in listed}
    assert (
        mini_ingredients.images_of(listed, Recipe(larger=False), boxed, data)
        == {
            **{f"nih_more/images/{name}": f"nih_more/images/{name}" for name in names[:10]},  # has no other copy
            **{f"nih_more/images/{name}": f"nih64/{name}" for name in names[10:15]},
            **{f"nih_more/images/{name}": f"nih128/{name}" for name in names[15:20]},
            **{f"nih128/{name}": f"nih128/{name}" for name in names[20:]},
        }
    )
    fewer = mini_ingredients.images_of(listed, Recipe(more=False), boxed, data)
    assert whole.keys() - fewer.keys() == {f"nih_more/images/{name}" for name in names[:10]}


def test_each_variant_lacks_one_ingredient() -> None:
    names = [recipe.name for recipe in VARIANTS.values()]
    assert names[0] == "recipe"
    assert sorted(names[1:]) == [f"recipe-no-{x}" for x in ("balance", "boxes", "larger", "more", "teacher", "trunk")]


def test_what_an_ingredient_gives_is_the_difference_seed_by_seed() -> None:
    def one(recipe: Recipe, seed: int) -> dict[str, float]:
        return {
            "macro": 0.7 + 0.01 * seed - (0 if recipe.teacher else 0.02 + 0.01 * seed),
            "sides": 0.6,
            "sources": 0.5,
        }

    found = mini_ingredients.collect(one)
    assert found["without teacher"]["macro"] == pytest.approx([0.68, 0.68, 0.68])
    table = mini_ingredients.table(mini_ingredients.compared(found))
    # differences 0.02, 0.03, 0.04: mean 0.03, standard deviation 0.01, over √3
    assert "| without teacher | 0.680, 0.680, 0.680 | 0.680 | +0.030 (0.006) |" in table
    assert "| the recipe | 0.700, 0.710, 0.720 | 0.710 |  |" in table


def test_a_teacher_is_asked_with_its_averaged_weights(tmp_path: Path) -> None:
    class Trunk(torch.nn.Module):
        num_features = 3

        def forward(self, films: torch.Tensor) -> torch.Tensor:
            return films.mean(dim=(2, 3))

    made = Network(Trunk())
    state = {f"module.{name}": torch.full_like(value, 0.25) for name, value in made.state_dict().items()}
    torch.save({"averaged": {"n_averaged": torch.tensor(7), **state}, "done": 1}, tmp_path / "state.pt")
    found = mini_teacher.averaged(made, tmp_path)
    assert all((value == 0.25).all() for value in found.state_dict().values())
    assert len(found.state_dict()) == len(state)


def test_gradients_of_a_film_are_counted_in_cells() -> None:
    from benchmarks.mini_handmade import features

    flat = features(np.full((128, 128), 51, np.uint8))
    assert flat.shape == (1024 + 2304,)
    np.testing.assert_allclose(flat[:1024], 0.2, rtol=1e-6)
    assert not flat[1024:].any()
