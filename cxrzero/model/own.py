"""Which bundles are the user's own to change."""

from __future__ import annotations

from cxrzero.errors import UsageError
from cxrzero.model.bundle import Bundle, bundled_folder


def check_is_own(bundle: Bundle, names: tuple[str, ...], instead: str, change: str) -> None:
    """Check that a change of a bundle's files stays in the bundle, and is not undone by an update.

    Args:
        names: of the files that are changed.
        instead: what else can be done with a model that comes with the package.
        change: what is done to a copy, as an imperative.

    Raises:
        UsageError: the bundle comes with the package, or one of the files is a link.
    """
    folder = bundle.path.resolve()
    if folder.parent == bundled_folder().resolve():
        raise UsageError(
            f"the model {bundle.name} comes with cxrzero, and an update would replace what is put into it; {instead}"
        )
    linked = [name for name in names if bundle.file(name).is_symlink()]
    if linked:
        raise UsageError(
            f"{bundle.file(linked[0])} is a link, so a change would reach others too (a Hugging Face cache?); copy the "
            f"folder with what its links lead to, and {change}"
        )
