"""Phantoms as DICOM files: CR or DX, MONOCHROME1 or 2, 8 to 16 bits, uncompressed or losslessly compressed.

Every identifier is invented: UIDs under 2.25 (DICOM PS3.5 annex B.2) follow from the phantom's seed, the patient is
called PHANTOM, and dates and times stay empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxrzero.errors import ConfigError
from cxrzero.phantom.draw import Phantom

TransferSyntax = Literal["explicit", "implicit", "rle", "jpeg2000", "jpegls", "jpeg-lossless"]
Photometric = Literal["MONOCHROME1", "MONOCHROME2"]
Modality = Literal["CR", "DX"]

# DICOM PS3.4 annex B.5: Computed Radiography Image Storage; Digital X-Ray Image Storage – For Presentation.
SOP_CLASSES = {"CR": UID("1.2.840.10008.5.1.4.1.1.1"), "DX": UID("1.2.840.10008.5.1.4.1.1.1.1")}
SYNTAXES: dict[str, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
    "jpeg-lossless": JPEGLosslessSV1,
}


def stored_values(phantom: Phantom, photometric: Photometric, bits_stored: int) -> npt.NDArray[np.unsignedinteger[Any]]:
    """(H, W) uint8 or uint16 as the file holds them: the top `bits_stored` bits, reversed for MONOCHROME1."""
    values = phantom.pixels >> np.uint16(16 - bits_stored)
    if photometric == "MONOCHROME1":
        values = np.uint16(2**bits_stored - 1) - values
    return values.astype(np.uint8 if bits_stored == 8 else np.uint16)


def write_dicom(
    path: str | Path,
    phantom: Phantom,
    *,
    photometric: Photometric = "MONOCHROME2",
    bits_stored: int = 12,
    transfer_syntax: TransferSyntax = "explicit",
    modality: Modality = "DX",
) -> None:
    """Write a phantom as a DICOM file.

    The file's window covers exactly the stored range (PS3.3 C.11.2.1.2.1), so that its display is `phantom.pixels` to
    `bits_stored` bits. The same arguments give the same bytes with the same codec libraries.

    Args:
        path: the file to write; an existing one is replaced.
        photometric: MONOCHROME1 stores dense as low.
        bits_stored: 8, 10, 12, 14 or 16; 8 uses one byte a pixel, the others two.
        transfer_syntax: a key of `SYNTAXES`; every one is lossless.
        modality: "CR" or "DX" (for presentation).

    Raises:
        ConfigError: an option that is none of the above.
    """
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or bits_stored not in (8, 10, 12, 14, 16):
        raise ConfigError(f"a phantom cannot be stored as {photometric} with {bits_stored} bits")
    if transfer_syntax not in SYNTAXES or modality not in SOP_CLASSES:
        raise ConfigError(f"a phantom cannot be stored as {modality} in transfer syntax {transfer_syntax}")
    values = stored_values(phantom, photometric, bits_stored)
    instance = f"{photometric}/{bits_stored}/{transfer_syntax}/{modality}"
    dataset = _header(phantom, modality, instance)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = values.itemsize * 8, bits_stored, bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    # PS3.3 C.8.11.3.1.2: 1 where low values mean little X-ray intensity, −1 where high values do.
    dataset.PixelIntensityRelationshipSign = 1 if photometric == "MONOCHROME1" else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.WindowCenter, dataset.WindowWidth = str(2 ** (bits_stored - 1)), str(2**bits_stored)
    dataset.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    dataset.ImagerPixelSpacing = [f"{phantom.frame.mm_per_px:.6g}"] * 2
    _set_pixels(dataset, values, transfer_syntax, bits_stored)
    dataset.save_as(path, enforce_file_format=True)


def _header(phantom: Phantom, modality: Modality, instance: str) -> FileDataset:
    person = f"phantom {phantom.seed} {phantom.view_position}"
    content = f"{person} {phantom.pixels.shape} {phantom.findings!r} {instance}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SOP_CLASSES[modality]
    meta.MediaStorageSOPInstanceUID = invented_uid(content)
    meta.ImplementationClassUID = invented_uid("cxrzero phantom")
    meta.ImplementationVersionName = "CXRZERO_PHANTOM"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = invented_uid(f"study of {person}")
    dataset.SeriesInstanceUID = invented_uid(f"series {instance} of {person}")
    dataset.Modality = modality
    dataset.PatientName, dataset.PatientID = "PHANTOM", f"PHANTOM-{phantom.seed}"
    for empty in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"):
        setattr(dataset, empty, "")
    dataset.ReferringPhysicianName = ""
    dataset.Manufacturer = "cxrzero phantom"
    dataset.SeriesNumber, dataset.InstanceNumber = "1", "1"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = phantom.view_position
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    if modality == "DX":
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.ImageLaterality = "U"
    return dataset


def _set_pixels(
    dataset: FileDataset, values: npt.NDArray[np.unsignedinteger[Any]], transfer_syntax: str, bits_stored: int
) -> None:
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[transfer_syntax]
    raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
    word = "OB" if values.itemsize == 1 else "OW"
    if transfer_syntax in ("explicit", "implicit"):
        dataset.add_new("PixelData", word, raw + b"\0" * (len(raw) % 2))
        return
    if transfer_syntax == "rle":
        dataset.add_new("PixelData", word, raw)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        return
    encode: dict[str, Callable[[], bytes | bytearray]] = {
        "jpeg2000": lambda: imagecodecs.jpeg2k_encode(
            values, codecformat="j2k", reversible=True, bitspersample=bits_stored, mct=False
        ),
        "jpegls": lambda: imagecodecs.jpegls_encode(values),
        "jpeg-lossless": lambda: imagecodecs.ljpeg_encode(values, bitspersample=bits_stored),
    }
    dataset.add_new("PixelData", "OB", encapsulate([bytes(encode[transfer_syntax]())]))
    dataset["PixelData"].is_undefined_length = True


def invented_uid(text: str) -> UID:
    """A UID under 2.25 made from the SHA-256 of a text: the same text, the same UID."""
    return UID(f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])}")
