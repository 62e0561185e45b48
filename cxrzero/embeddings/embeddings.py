"""Films and their embeddings, in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cxrzero.display.counts import counted
from cxrzero.display.oneline import line
from cxrzero.display.page import escape
from cxrzero.embeddings import files
from cxrzero.embeddings.origin import Origin
from cxrzero.embeddings.rows import columns_of
from cxrzero.errors import MissingExtraError, UsageError
from cxrzero.prediction import Prediction, Predictions

if TYPE_CHECKING:
    import pandas

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Films, and the embedding of each that could be scored.

    An embedding is not anonymous: what a report says of a film, and whether two films are of one patient, can be
    guessed from it (docs/embed.md).

        >>> embeddings = screener.embed("films/")
        >>> embeddings.numpy().shape
        (8, 384)
        >>> embeddings.save("films.npz")
        >>> screener.score(Embeddings.load("films.npz"), ["edema"])
        <Predictions: 8 images, 1 label>

    Attributes:
        rows: one for each frame, failed or skipped film, in their order, without scores.
        image_embeds: (N, D) float32, rows of length 1, of the N rows whose status is "ok", in their order; of an
            ensemble those of its models side by side.
        origin: what made them.
    """

    rows: Sequence[Prediction]
    image_embeds: npt.NDArray[np.float32]
    origin: Origin

    def __post_init__(self) -> None:
        if not isinstance(self.rows, Predictions):
            object.__setattr__(self, "rows", Predictions(self.rows))
        n = sum(row.status == "ok" for row in self.rows)
        expected = n, self.origin.embed_dim
        if self.image_embeds.shape != expected or self.image_embeds.dtype != np.float32:
            raise UsageError(f"image_embeds must be {expected} float32, and is {self.image_embeds.shape}")

    @property
    def films(self) -> list[Prediction]:
        """The N rows that have an embedding.

        For example:

            >>> screener.embed("films/").films[0].path
            'films/cardiomegaly.png'
        """
        return [row for row in self.rows if row.status == "ok"]

    @property
    def left_out(self) -> list[Prediction]:
        """The rows of what failed or was skipped, with their errors.

        For example:

            >>> screener.embed(["films/normal.png", b"no film"]).left_out[0].code
            'not_an_image'
        """
        return [row for row in self.rows if row.status != "ok"]

    @property
    def path(self) -> list[str]:
        """Of the N films.

        For example:

            >>> screener.embed("films/normal.png").path
            ['films/normal.png']
        """
        return [row.path for row in self.films]

    def __len__(self) -> int:
        """N."""
        return len(self.image_embeds)

    def __iter__(self) -> Iterator[tuple[Prediction, npt.NDArray[np.float32]]]:
        """(row, (D,) float32) of each film."""
        return zip(self.films, self.image_embeds, strict=True)

    def numpy(self) -> npt.NDArray[np.float32]:
        """(N, D) float32; the array itself, not a copy.

        For example:

            >>> numpy.linalg.norm(screener.embed("films/").numpy(), axis=1).round(4).tolist()
            [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        """
        return self.image_embeds

    def to_pandas(self) -> pandas.DataFrame:
        """A table of the N films: the fixed columns of the prediction table, then `embed_0` to `embed_{D−1}`.

            >>> screener.embed("films/").to_pandas().shape
            (8, 395)

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError("pandas", "pandas") from error
        names = [f"embed_{number}" for number in range(self.image_embeds.shape[1])]
        left = pandas.DataFrame(columns_of(self.films))
        return pandas.concat([left, pandas.DataFrame(self.image_embeds, columns=names)], axis=1)

    def to_parquet(self, path: PathLike, *, overwrite: bool = False) -> None:
        """Write a Parquet file, see `save`.

        For example:

            >>> screener.embed("films/").to_parquet("films.parquet")
        """
        self._save(Path(path), ".parquet", overwrite)

    def save(self, path: PathLike, *, overwrite: bool = False) -> None:
        """Write a .npz or .parquet file, by its suffix: the rows, the embeddings and what made them.

            >>> screener.embed("films/").save("kept.npz")
            >>> numpy.load("kept.npz")["image_embeds"].shape
            (8, 384)

        Raises:
            UsageError: another suffix, or more than an .npz file may have.
            OutputExistsError: the file exists.
            OutputError: it cannot be written; nothing is left there.
            MissingExtraError: pyarrow, which writes Parquet, is not installed.
        """
        self._save(Path(path), Path(path).suffix.lower(), overwrite)

    def _save(self, path: Path, suffix: str, overwrite: bool) -> None:
        files.save(path, suffix, self.rows, self.image_embeds, self.origin, overwrite=overwrite)

    @classmethod
    def load(cls, path: PathLike) -> Embeddings:
        """Read what `save`, or `cxrzero embed`, wrote. Nothing in the file is run.

            >>> screener.embed("films/normal.png").save("one.npz")
            >>> Embeddings.load("one.npz")
            <Embeddings of 1 film: 384 numbers each, by cxrzero-mini>

        Raises:
            NoInputError: there is no such file, or it is none of these.
            MissingExtraError: pyarrow, which reads Parquet, is not installed.
        """
        return cls(*files.load(Path(path)))

    def __repr__(self) -> str:
        left_out = len(self.rows) - len(self)
        more = f" ({left_out:,} left out)" if left_out else ""
        films, numbers = counted(len(self), "film"), counted(self.image_embeds.shape[1], "number")
        return f"{line(f'<Embeddings of {films}{more}: {numbers} each, by {self.origin.names}')}>"

    def _repr_html_(self) -> str:
        """What it is, and its first rows."""
        assert isinstance(self.rows, Predictions)
        return f"<p>{escape(repr(self).strip('<>'))}</p>{self.rows._repr_html_()}"
