"""`cxrzero inspect`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrzero.choices import DEFAULT_MODEL, Invert
from cxrzero.cli.failures import reports_failures
from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import Debug
from cxrzero.cli.terminal import say
from cxrzero.options import ADVANCED

if TYPE_CHECKING:
    from cxrzero.archive.archives import Archives
    from cxrzero.cli.console import Console
    from cxrzero.images.radiograph import Radiograph
    from cxrzero.model.preprocess import Preprocess
    from cxrzero.remote.objects import Objects

# Characters: the longest of the titles, "photometric interpretation".
TITLE = 26


def register(app: typer.Typer) -> None:
    app.command("inspect", cls=Command, no_args_is_help=True)(reports_failures(inspect))


def inspect(
    paths: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Give images, folders, .zip and .tar files or @list.txt.")
    ],
    png: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the upright picture and exactly what the model sees to this folder, as numbered files.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="Show the preprocessing of this model with --png.")
    ] = DEFAULT_MODEL,
    invert: Annotated[
        Invert, typer.Option(rich_help_panel=ADVANCED, help="Invert every image or none; see predict.")
    ] = "auto",
    debug: Debug = False,
) -> None:
    """Show what cxrzero sees in an image: facts, flags, and each step from stored values to grey.

    Attributes that identify a patient (names, dates, numbers, UIDs) are never printed.

    [bold]cxrzero inspect film.dcm --png seen/[/bold]

    Exit codes: 0 all readable, 1 the run failed, 2 wrong usage, 3 some files could not be read.
    """
    from cxrzero.archive.archives import Archives
    from cxrzero.remote.objects import Objects

    with Archives(notify=say) as archives, Objects(notify=say) as objects:
        _inspect(paths, png, model, invert, archives, objects)


def _inspect(
    paths: list[str], png: Path | None, model: str, invert: Invert, archives: Archives, objects: Objects
) -> None:
    from cxrzero.cli.console import Console
    from cxrzero.errors import ImageError, NoInputError, OutputError, exit_code
    from cxrzero.images import DecodeOptions
    from cxrzero.model.bundle import Bundle
    from cxrzero.model.preprocess import Preprocess
    from cxrzero.places.kind import shown
    from cxrzero.registry.resolve import resolve_model
    from cxrzero.sources import check_paths, find_images
    from cxrzero.sources.reader import Reader

    check_paths(paths, archives, objects)
    preprocess = None
    if png is not None:
        bundle: Bundle = resolve_model(model, say)
        preprocess = Preprocess(bundle.preprocess, bundle.image_size)
        try:
            png.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"--png {png} cannot be made: {error.strerror}") from error
    console, reader = Console(), Reader(archives, objects)
    failed = number = 0
    for number, ref in enumerate(find_images(paths, archives=archives, objects=objects), start=1):
        console.print()
        console.print(f"{number}  {ref.path}", style="bold")
        try:
            if ref.error is not None:
                raise ref.error
            for radiograph in reader.decode(ref, DecodeOptions(invert=invert)):
                _print_radiograph(console, radiograph)
                if png is not None and preprocess is not None:
                    _write_pngs(console, png, f"{number:04d}_{radiograph.frame}", radiograph, preprocess)
        except ImageError as error:
            failed += error.status == "failed"
            console.print(f"   {error.status}: {error}", style="yellow")
    if not number:
        raise NoInputError(f"no image or DICOM file in {', '.join(map(shown, paths))}")
    raise typer.Exit(exit_code(number, failed))


def _print_radiograph(console: Console, radiograph: Radiograph) -> None:
    from cxrzero.images.detectors import detect
    from cxrzero.images.flags import FLAGS

    height, width = radiograph.pixels.shape
    frame = f", frame {radiograph.frame} of {radiograph.n_frames}" if radiograph.n_frames > 1 else ""
    console.print(f"   {'upright picture':{TITLE}} {width} × {height} pixels{frame}, decoded by {radiograph.decoder}")
    for name in ("modality", "view_position", "photometric_interpretation"):
        console.print(f"   {name.replace('_', ' '):{TITLE}} {getattr(radiograph.facts, name) or 'not stated'}")
    for index, step in enumerate(radiograph.steps):
        title = "steps" if index == 0 else ""
        console.print(f"   {title:{TITLE}} {step.name:18} {step.low:g} … {step.high:g}  {_parameters(step.parameters)}")
    found = detect(radiograph.pixels)
    console.print(
        f"   {'detectors':{TITLE}} inverted {found.inverted:.2f}, not a chest X-ray {found.not_chest:.2f} (0 to 1)"
    )
    for index, flag in enumerate(sorted(radiograph.flags)):
        console.print(f"   {'flags' if index == 0 else '':{TITLE}} {flag}: {FLAGS[flag]}")


def _parameters(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in parameters.items())


def _write_pngs(console: Console, folder: Path, stem: str, radiograph: Radiograph, preprocess: Preprocess) -> None:
    """Numbered names: the file's own name could be a patient's."""
    from PIL import Image

    from cxrzero.errors import OutputExistsError
    from cxrzero.files import write_whole

    pictures = {"upright": radiograph.pixels, "model": preprocess.picture(preprocess(radiograph.pixels))}
    for kind, pixels in pictures.items():
        path = folder / f"{stem}_{kind}.png"
        if path.exists():
            raise OutputExistsError(f"{path} exists already; give --png a new folder, so that no runs are mixed")
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        write_whole(path, buffer.getvalue())
        console.print(f"   {'wrote':{TITLE}} {path}")
