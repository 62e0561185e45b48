"""What happens to a film before the encoder, in one thread, and whether a GPU gives the same bits for the last steps.

"before film": decoding a PNG, the geometry (Pillow) and the value steps on the CPU, milliseconds of a core.
"before value steps": pictures given to each backend as 8-bit grey and as numbers; the embeddings must be the same.
"""

from __future__ import annotations

import numpy as np

from benchmarks.gpu.encode import Films
from benchmarks.gpu.worker import parser, row, wait_for_turn
from cxrzero.backends import Encoder, open_encoder
from cxrzero.bench.stopwatch import measure
from cxrzero.errors import CxrzeroError
from cxrzero.images import decode
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.model.bundle import load_bundle
from cxrzero.model.preprocess import Preprocess

FILMS = 8


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", required=True)
    args = options.parse_args()
    films = Films(args.work / args.model)
    bundle = load_bundle(films.folder / "bundle")
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    paths = sorted((args.work / "png").iterdir())[:FILMS]
    wait_for_turn()
    pictures = [next(decode(path, DecodeOptions())).pixels for path in paths]
    fitted = [preprocess.fit(each) for each in pictures]
    row(
        "before film",
        decode_ms=measure(lambda: [[*decode(path, DecodeOptions())] for path in paths], FILMS, args.seconds).core_ms,
        fit_ms=measure(lambda: [preprocess.fit(each) for each in pictures], FILMS, args.seconds).core_ms,
        values_ms=measure(lambda: [films.steps(each[None]) for each in fitted], FILMS, args.seconds).core_ms,
        bytes_fitted=fitted[0].nbytes,
        bytes_as_numbers=4 * 3 * bundle.image_size[0] * bundle.image_size[1],
    )
    found: dict[str, object] = {}
    for backend in ("torch", "onnxruntime"):
        try:
            encoder = open_encoder(bundle, backend, args.device)  # type: ignore[arg-type]
            found |= {f"{backend}_{key}": value for key, value in compared(films, encoder).items()}
        except CxrzeroError as error:
            found[f"{backend}_error"] = str(error)
    row("before value steps", **found)


def compared(films: Films, encoder: Encoder) -> dict[str, object]:
    if not getattr(encoder, "takes_fitted", False):
        return {"takes_fitted": False}
    on_device = encoder.encode_fitted(list(films.fitted), films.steps)
    on_cpu = encoder.encode_images(films.steps(films.fitted))
    return {
        "is_equal": bool(np.array_equal(on_device, on_cpu)),
        "max_difference": float(np.abs(on_device - on_cpu).max()),
    }


if __name__ == "__main__":
    main()
