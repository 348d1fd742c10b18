"""What the task files of `code_tasks` share: the words for one role, any of which
may name it in a snippet, and the shape of a task."""

LIST = "values numbers items data entries"
ONE = "value number item x entry"
TEXT = "text line message content source"
COUNT = "n count limit size"
TABLE = "orders customers products invoices tickets visits employees books rooms payments shipments lessons"
GROUP = "city status category team country kind branch year"
AMOUNT = "price amount total quantity score weight duration cost"
FOLDER = "folder dir directory target"


def task(language: str, ask: str, names: dict[str, str], code: str, example: str | None = None) -> dict:
    """A template: `$slot` in `ask`, `code` and `example` is one of the slot's names.
    `example` is a Python expression that is true once the code has run."""
    return {"language": language, "ask": ask, "names": names, "code": code, "example": example}
