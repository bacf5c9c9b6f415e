"""The prices that plans are made with: the catalogue's, and the user's own over them.

In: the project, the environment. Out: prices by machine type. The file is `recipec-prices.toml`
beside the project's root, or the one that RECIPEC_PRICES names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from recipec.catalog.prices import FILE, Offer, list_prices, with_own
from recipec.cli.project import Project
from recipec.errors import EnvironmentLacks


def prices_for(project: Project) -> Mapping[str, Offer]:
    """List prices and the user's own. Raises RecipeError for a file that cannot be used."""
    named = os.environ.get("RECIPEC_PRICES")
    file = Path(named) if named else project.root / FILE
    if not named and not file.is_file():
        return list_prices()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        hint = "RECIPEC_PRICES names it" if named else ""
        raise EnvironmentLacks(f"cannot read the prices in {file}: {why}", hint=hint) from None
    return with_own(text, project.shown(file))
