"""The views of a database of results, in SQL that SQLite and PostgreSQL have in common."""

from __future__ import annotations

from cxrzero.prediction import FACT_COLUMNS
from cxrzero.tables.rows import KINDS
from cxrzero.tables.studies import LEFT_OUT

_FACTS = ", ".join(f"facts.{name}" for name in FACT_COLUMNS)
_KINDS = ", ".join(f"scores.{name}" for name in KINDS)

# Every row of every run, one for each label.
RESULTS = f"""
SELECT listed.run, listed.position, facts.path, films.frame, {_FACTS}, facts.status, facts.flags, facts.error,
       settings.model, settings.fingerprint, asked.place, prompts.label, scores.probability, {_KINDS},
       facts.folder, films.picture, scores.run AS scored_in
FROM listed
JOIN facts ON facts.id = listed.facts
JOIN films ON films.id = facts.film
JOIN runs ON runs.id = listed.run
JOIN settings ON settings.id = runs.setting
JOIN asked ON asked.run = listed.run
JOIN prompts ON prompts.id = asked.prompt
LEFT JOIN scores ON scores.film = films.id AND scores.setting = runs.setting AND scores.prompt = asked.prompt
    AND facts.status = 'ok'
"""

# Of each film, model and label the row of the newest run that has it: the film's SOP Instance UID, else its path, tells
# it. A file of which nothing could be read is no film any more once a newer run has read its path.
LATEST = """
SELECT * FROM (
    SELECT results.*,
        rank() OVER (
            PARTITION BY CASE sop_instance_uid WHEN '' THEN path ELSE sop_instance_uid END, fingerprint, label
            ORDER BY run DESC
        ) AS age,
        row_number() OVER (
            PARTITION BY CASE sop_instance_uid WHEN '' THEN path ELSE sop_instance_uid END, frame, fingerprint, label
            ORDER BY run DESC, position DESC
        ) AS repeated
    FROM results
) AS numbered
WHERE age = 1 AND repeated = 1 AND NOT (
    status <> 'ok' AND sop_instance_uid = '' AND EXISTS (
        SELECT 1 FROM facts JOIN listed ON listed.facts = facts.id
        WHERE facts.path = numbered.path AND listed.run > numbered.run
    )
)
"""

_IS_USED = " AND ".join(
    [
        "status = 'ok'",
        *(f"(';' || flags || ';') NOT LIKE '%;{flag.replace('_', '!_')};%' ESCAPE '!'" for flag in LEFT_OUT),
    ]
)
BY_STUDY = f"""
SELECT CASE study_instance_uid WHEN '' THEN folder ELSE study_instance_uid END AS study, study_instance_uid,
       model, fingerprint, label,
       sum(CASE WHEN {_IS_USED} THEN 1 ELSE 0 END) AS images_used,
       sum(CASE WHEN {_IS_USED} THEN 0 ELSE 1 END) AS images_left_out,
       avg(CASE WHEN {_IS_USED} THEN probability END) AS mean_probability,
       max(CASE WHEN {_IS_USED} THEN probability END) AS max_probability
FROM latest
GROUP BY 1, study_instance_uid, model, fingerprint, label
"""

VIEWS = {"results": RESULTS, "latest": LATEST, "by_study": BY_STUDY}
