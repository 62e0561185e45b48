"""A closed study → its reports, as files in `state/reports/`: by the rows, record and time that the queue has kept.

Therefore a report that is made again, after a kill or because its file is gone, has the same UID and the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from cxrzero.choices import Notify, silent
from cxrzero.dicom_out.report import report_of
from cxrzero.dicom_out.source import Source, SourceFilm, read_source
from cxrzero.dicom_out.write import write_report
from cxrzero.errors import ImageError, OutputError
from cxrzero.files import make_private
from cxrzero.node.config import NodeConfig
from cxrzero.node.objects import Objects
from cxrzero.node.outbox import Letter, Report
from cxrzero.node.queue import Object, Queue
from cxrzero.node.rows import shown_path, unpack
from cxrzero.prediction import Prediction
from cxrzero.tables.pseudonym import Pseudonymiser, load_key
from cxrzero.tables.record import RunRecord

KEY_FILE = "patients.key"


class Reporting:
    """Writes reports.

    Args:
        queue: what they are about.
        config: where they and their films are.
        notify: is told of those that cannot be made.
    """

    def __init__(self, queue: Queue, config: NodeConfig, notify: Notify = silent) -> None:
        self._queue, self._outbox, self._notify = queue, queue.outbox, notify
        self._folder, self._per = make_private(config.reports), config.per
        self._objects = Objects(config.objects)
        key, _ = load_key(config.state / KEY_FILE)
        self._pseudonymiser = Pseudonymiser(key)
        for path in self._folder.iterdir():  # written, and not noted before a kill; or delivered, and not deleted
            if not self._outbox.is_wanted(path.name, delivered=config.keep):
                path.unlink(missing_ok=True)

    def write(self, report: Report) -> None:
        """Write what there is to send of a closed study, and note it: nothing, one report, or several.

        Raises:
            OutputError: nothing can be written.
        """
        try:
            patients, letters = self._letters(report)
        except OutputError:
            raise
        except Exception as error:  # a header that nobody foresaw; the node goes on, and the study is not forgotten
            self._outbox.failed(report, f"report_{type(error).__name__}")
            self._notify(f"no report can be made of study {report.study} ({type(error).__name__})")
            return
        self._outbox.written(report, letters, patients)

    def _letters(self, report: Report) -> tuple[dict[int, str], list[Letter]]:
        patients, groups = self._groups(report)
        letters = []
        for number, (run, films) in enumerate(groups, self._outbox.number_before(report) + 1):
            record = RunRecord.of({**self._queue.record(run), "started": report.scored_at})
            made = report_of(films, record, number=number)
            if self._outbox.is_said(made.SOPInstanceUID, report):
                continue  # an earlier one said the same
            path = write_report(made, self._folder, overwrite=True)
            letters.append(Letter(path.name, made.SOPClassUID, made.SOPInstanceUID))
        return patients, letters

    def _groups(self, report: Report) -> tuple[dict[int, str], list[tuple[int, list[SourceFilm]]]]:
        """What stands in one report each, and the run that scored it: frames of one patient, or of one image.

        Also the patient's pseudonym for each object whose file was read. An object whose file is gone was in an earlier
        report; it is in this one too if a file is there whose patient is the same, so that its identity is known. What
        another model or another version has scored is in no report with this one's.
        """
        objects = self._queue.found_in(report.study, report)
        sources: dict[str, tuple[Object, Source]] = {}
        patients: dict[int, str] = {}
        for each, source in self._read(objects):
            patients[each.id] = self._patient(source)
            sources[each.sop_instance] = (each, source)  # of an instance that came twice, what came last
        known = {patients[each.id]: source for each, source in sources.values()}
        for each in objects:
            if each.id not in patients and each.sop_instance not in sources and each.patient in known:
                sources[each.sop_instance] = (each, _stand_in(each, known[each.patient]))
                patients[each.id] = each.patient
        groups: dict[tuple[int, str], list[SourceFilm]] = {}
        new = set()
        for each, source in sorted(sources.values(), key=lambda pair: pair[0].id):
            key = each.run, each.sop_instance if self._per == "image" else patients[each.id]
            groups.setdefault(key, []).extend(SourceFilm(row, source) for row in _scored(each))
            if each.report == report.closing:
                new.add(key)
        return patients, [(key[0], films) for key, films in groups.items() if key in new]

    def _read(self, objects: Iterable[Object]) -> Iterator[tuple[Object, Source]]:
        for each in objects:
            path = self._objects.path(each.file)
            if _scored(each) and path.is_file():
                try:
                    yield each, read_source(path)
                except ImageError:
                    continue  # nothing can refer to it, as to a picture without a header: its scores are in the table

    def _patient(self, source: Source) -> str:
        """Tells patients apart whom an archive has put into one study; of no use without the key."""
        return self._pseudonymiser.content(repr((source.study, source.patient)).encode())


def _scored(each: Object) -> list[Prediction]:
    return [row for row in unpack(each.rows, shown_path(each)) if row.status == "ok"]


def _stand_in(each: Object, source: Source) -> Source:
    """For the header of an object that is gone, as far as a report takes it: another of the same patient and study."""
    frames = max((row.frame or 1 for row in _scored(each)), default=1)
    return replace(
        source, sop_class=each.sop_class, sop_instance=each.sop_instance, series=each.series, n_frames=frames
    )
