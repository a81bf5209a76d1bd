"""What tells the databases of this package from others, and one version of them from the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Format:
    """What one kind of database of ours is made of. schema: of the first version; migrations: for
    each older version what makes the next one of it; readable: the oldest version that can be read
    as it is; main_table: one that is there in all versions."""

    application_id: int
    version: int
    main_table: str
    schema: str
    migrations: Mapping[int, str] = field(default_factory=dict)
    readable: int = 1

    def statements(self, version: int) -> str:
        """What makes a database of that version."""
        return "".join([self.schema, *(self.migrations[v] for v in range(1, version))])
