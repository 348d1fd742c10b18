"""Rust, JavaScript, SQL and shell tasks of `code_tasks`; `$slot` names vary and `$$`
is a dollar sign."""

_LIST = "values numbers items data"
_TABLE = "orders customers products invoices tickets visits employees books rooms payments"


def _task(language: str, ask: str, names: dict[str, str], code: str) -> dict:
    return {"language": language, "ask": ask, "names": names, "code": code}


OTHER_TASKS = {
    "rust_sum": _task("rust", "adds up a slice of integers", {"f": "total sum_of add_all", "v": _LIST},
'''
/// Returns the sum of all values.
fn $f($v: &[i64]) -> i64 {
    $v.iter().sum()
}
'''),
    "rust_max": _task("rust", "returns the largest value of a slice", {"f": "largest maximum find_max", "v": _LIST},
'''
/// Returns the largest value, or `None` for an empty slice.
fn $f($v: &[i32]) -> Option<i32> {
    $v.iter().copied().max()
}
'''),
    "js_sum": _task("javascript", "adds up an array of numbers", {"f": "total sumOf addAll", "v": _LIST, "x": "value number item"},
'''
// Returns the sum of all numbers.
function $f($v) {
  let result = 0;
  for (const $x of $v) {
    result += $x;
  }
  return result;
}
'''),
    "sql_count": _task("sql", "counts the rows of $t", {"t": _TABLE, "n": "total number_of_rows row_count"},
'''
-- Number of rows in $t.
SELECT COUNT(*) AS $n
FROM $t;
'''),
    "sh_count": _task("bash", "counts the files in a folder", {"d": "folder dir directory"},
'''
#!/bin/sh
# Count the files in a folder.
$d="$${1:-.}"
find "$$$d" -type f | wc -l
'''),
}
