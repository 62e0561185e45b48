"""DICOM files of whole films, and media of them."""

from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path

import pydicom
from PIL import Image
from pydicom.fileset import FileSet
from pydicom.uid import UID, ExplicitVRLittleEndian

from cxrzero.phantom import draw
from tests.support.pictures import picture

DX = UID("1.2.840.10008.5.1.4.1.1.1.1")


def write_dicom(path: Path, sop_class: str, modality: str, rows: int = 64, with_pixels: bool = True) -> Path:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID(sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID("2.25.1")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.2", "2.25.3"
    dataset.Modality, dataset.PatientName, dataset.PatientID = modality, "SECRET^PATIENT", "MRN-31337"
    if with_pixels:
        dataset.Rows, dataset.Columns = rows, 48
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, 0
        dataset.PixelData = picture(5, (64, 48)).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def film(path: str, seed: int, view: str = "PA", study: str = "2.25.7") -> None:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = DX
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"2.25.{seed + 1000}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, "2.25.8"
    dataset.Modality, dataset.ViewPosition = "DX", view
    dataset.Rows, dataset.Columns = 64, 48
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = draw(seed, (64, 48)).to_uint8().tobytes()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def medium(folder: Path, images: int) -> None:
    """A folder with a DICOMDIR that lists so many films; works in the current folder."""
    files = FileSet()
    for seed in range(1, images + 1):
        film(f"{seed}.dcm", seed)
        dataset = pydicom.dcmread(f"{seed}.dcm")
        dataset.PatientID, dataset.PatientName, dataset.StudyDate, dataset.StudyTime = "X", "X", "20000101", "000000"
        dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, seed
        files.add(dataset)
    files.write(folder)
    with warnings.catch_warnings():  # pydicom leaves its temporary folder to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        del files
        gc.collect()


def mixed_archive(folder: Path) -> None:
    """Multi-frame files, equal pictures in several places, failed rows, an odd name, a file to ignore."""
    (folder / "sub").mkdir(parents=True)
    for number in range(12):
        Image.fromarray(picture(number % 7)).save(folder / f"{number}.png")
    for name in ("many.dcm", "sub/again.dcm"):
        dataset = pydicom.dcmread(write_dicom(folder / name, DX, "DX"))
        dataset.NumberOfFrames = 4
        dataset.PixelData = b"".join(picture(seed, (64, 48)).tobytes() for seed in (3, 90, 91, 90))
        dataset.save_as(folder / name)
    (folder / "sub/broken.png").write_bytes(b"")
    (folder / os.fsdecode(b'sub/"caf\xe9", =1.png')).write_bytes((folder / "0.png").read_bytes())
    (folder / "notes.txt").write_text("not an image")
