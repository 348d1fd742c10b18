"""Rust, JavaScript, SQL and shell tasks of `code_tasks`; `$slot` names vary and `$$`
is a dollar sign."""

_LIST = "values numbers items data entries"
_ONE = "value number item x entry"
_TEXT = "text line message content source"
_TABLE = "orders customers products invoices tickets visits employees books rooms payments shipments lessons"
_GROUP = "city status category team country kind branch year"
_AMOUNT = "price amount total quantity score weight duration cost"
_FOLDER = "folder dir directory target"


def _task(language: str, ask: str, names: dict[str, str], code: str) -> dict:
    return {"language": language, "ask": ask, "names": names, "code": code}


_RUST = {
    "rust_sum": _task(
        "rust",
        "adds up a slice of integers",
        {"f": "total sum_of add_all sum_slice", "v": _LIST},
        """
/// Returns the sum of all $v.
fn $f($v: &[i64]) -> i64 {
    $v.iter().sum()
}
""",
    ),
    "rust_max": _task(
        "rust",
        "returns the largest value of a slice",
        {"f": "largest maximum find_max biggest", "v": _LIST},
        """
/// The largest of $v, or `None` for an empty slice.
fn $f($v: &[i32]) -> Option<i32> {
    $v.iter().copied().max()
}
""",
    ),
    "rust_mean": _task(
        "rust",
        "returns the average of a slice of floats",
        {"f": "mean average mean_of", "v": _LIST},
        """
/// Returns the average of $v, or `None` if there are none.
fn $f($v: &[f64]) -> Option<f64> {
    if $v.is_empty() {
        return None;
    }
    let sum: f64 = $v.iter().sum();
    Some(sum / $v.len() as f64)
}
""",
    ),
    "rust_factorial": _task(
        "rust",
        "computes the factorial of a number",
        {"f": "factorial fact factorial_of", "n": "n number k"},
        """
/// Returns 1 * 2 * ... * $n.
fn $f($n: u64) -> u64 {
    (1..=$n).product()
}
""",
    ),
    "rust_gcd": _task(
        "rust",
        "computes the greatest common divisor",
        {"f": "gcd common_divisor greatest_divisor", "a": "a left first", "b": "b right second"},
        """
/// Returns the greatest common divisor of $a and $b.
fn $f($a: u64, $b: u64) -> u64 {
    if $b == 0 {
        $a
    } else {
        $f($b, $a % $b)
    }
}
""",
    ),
    "rust_prime": _task(
        "rust",
        "checks whether a number is prime",
        {"f": "is_prime prime check_prime", "n": "n number candidate", "d": "divisor d factor"},
        """
/// Returns true if $n is a prime number.
fn $f($n: u32) -> bool {
    if $n < 2 {
        return false;
    }
    let mut $d = 2;
    while $d * $d <= $n {
        if $n % $d == 0 {
            return false;
        }
        $d += 1;
    }
    true
}
""",
    ),
    "rust_reverse": _task(
        "rust",
        "reverses a string",
        {"f": "reverse reversed backwards", "t": _TEXT},
        """
/// Returns $t from back to front.
fn $f($t: &str) -> String {
    $t.chars().rev().collect()
}
""",
    ),
    "rust_count": _task(
        "rust",
        "counts the words of a text",
        {"f": "count_words word_count number_of_words", "t": _TEXT},
        """
/// Returns the number of words in $t.
fn $f($t: &str) -> usize {
    $t.split_whitespace().count()
}
""",
    ),
    "rust_evens": _task(
        "rust",
        "keeps the even numbers of a vector",
        {"f": "evens keep_even even_numbers", "v": _LIST, "x": "x n value"},
        """
/// Returns the even numbers of $v.
fn $f($v: Vec<i32>) -> Vec<i32> {
    $v.into_iter().filter(|$x| $x % 2 == 0).collect()
}
""",
    ),
    "rust_table": _task(
        "rust",
        "counts how often each word occurs",
        {"f": "frequencies count_each tally", "t": _TEXT, "c": "counts table result"},
        """
use std::collections::HashMap;

/// Counts each word of $t.
fn $f($t: &str) -> HashMap<String, usize> {
    let mut $c = HashMap::new();
    for word in $t.split_whitespace() {
        *$c.entry(word.to_string()).or_insert(0) += 1;
    }
    $c
}
""",
    ),
    "rust_point": _task(
        "rust",
        "class: holds a point and gives the distance of two points",
        {"s": "Point Position Place", "f": "distance distance_to length_to", "o": "other end goal"},
        """
/// A point in the plane.
struct $s {
    x: f64,
    y: f64,
}

impl $s {
    /// Returns the distance to $o.
    fn $f(&self, $o: &$s) -> f64 {
        ((self.x - $o.x).powi(2) + (self.y - $o.y).powi(2)).sqrt()
    }
}
""",
    ),
    "rust_parse": _task(
        "rust",
        "parses numbers that are separated by commas",
        {"f": "parse_numbers read_numbers numbers_of", "t": _TEXT},
        """
/// Parses the numbers in $t, such as `1,2,3`.
fn $f($t: &str) -> Result<Vec<i32>, std::num::ParseIntError> {
    $t.split(',').map(|part| part.trim().parse()).collect()
}
""",
    ),
}

_JAVASCRIPT = {
    "js_sum": _task(
        "javascript",
        "adds up an array of numbers",
        {"f": "total sumOf addAll sumArray", "v": _LIST, "x": _ONE},
        """
// Returns the sum of all $v.
function $f($v) {
  let result = 0;
  for (const $x of $v) {
    result += $x;
  }
  return result;
}
""",
    ),
    "js_max": _task(
        "javascript",
        "returns the largest number of an array",
        {"f": "largest maximum findMax", "v": _LIST},
        """
// Returns the largest of $v.
function $f($v) {
  return Math.max(...$v);
}
""",
    ),
    "js_reverse": _task(
        "javascript",
        "reverses a string",
        {"f": "reverse backwards reverseText", "t": _TEXT},
        """
// Returns $t from back to front.
function $f($t) {
  return $t.split("").reverse().join("");
}
""",
    ),
    "js_unique": _task(
        "javascript",
        "removes duplicates from an array",
        {"f": "unique distinct withoutDuplicates", "v": _LIST},
        """
// Returns $v without repeats.
function $f($v) {
  return [...new Set($v)];
}
""",
    ),
    "js_group": _task(
        "javascript",
        "groups objects by a key",
        {"f": "groupBy groupItems byKey", "v": _LIST, "x": _ONE, "g": "groups result index"},
        """
// Groups $v by the given key.
function $f($v, key) {
  const $g = {};
  for (const $x of $v) {
    const name = $x[key];
    $g[name] = $g[name] || [];
    $g[name].push($x);
  }
  return $g;
}
""",
    ),
    "js_fetch": _task(
        "javascript",
        "loads JSON from an address",
        {"f": "loadJson getJson fetchData", "u": "url address link"},
        """
// Loads JSON from $u.
async function $f($u) {
  const response = await fetch($u);
  if (!response.ok) {
    throw new Error("status " + response.status);
  }
  return response.json();
}
""",
    ),
    "js_debounce": _task(
        "javascript",
        "delays a call until nothing happened for a while",
        {"f": "debounce delayed waitFor", "a": "action callback handler", "d": "delay wait pause"},
        """
// Calls $a once nothing has happened for $d milliseconds.
function $f($a, $d) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => $a(...values), $d);
  };
}
""",
    ),
    "js_count": _task(
        "javascript",
        "counts the words of a text",
        {"f": "countWords wordCounts frequencies", "t": _TEXT, "c": "counts table result"},
        """
// Counts each word of $t.
function $f($t) {
  const $c = new Map();
  for (const word of $t.toLowerCase().split(/\\s+/)) {
    $c.set(word, ($c.get(word) || 0) + 1);
  }
  return $c;
}
""",
    ),
    "js_range": _task(
        "javascript",
        "returns the numbers from a start to an end",
        {"f": "range numbersFrom countUp", "a": "start first low", "b": "end last high"},
        """
// Returns the whole numbers from $a to $b.
function $f($a, $b) {
  const result = [];
  for (let i = $a; i <= $b; i++) {
    result.push(i);
  }
  return result;
}
""",
    ),
    "js_evens": _task(
        "javascript",
        "keeps the even numbers of an array",
        {"f": "evens keepEven onlyEven", "v": _LIST, "x": _ONE},
        """
// Returns the even numbers of $v.
const $f = ($v) => $v.filter(($x) => $x % 2 === 0);
""",
    ),
}

_SQL = {
    "sql_count": _task(
        "sql",
        "counts the rows of $t",
        {"t": _TABLE, "n": "total number_of_rows row_count"},
        """
-- Number of rows in $t.
SELECT COUNT(*) AS $n
FROM $t;
""",
    ),
    "sql_group": _task(
        "sql",
        "counts the $t by $g",
        {"t": _TABLE, "g": _GROUP, "n": "total how_many row_count"},
        """
-- $t by $g, the most frequent first.
SELECT $g, COUNT(*) AS $n
FROM $t
GROUP BY $g
ORDER BY $n DESC;
""",
    ),
    "sql_top": _task(
        "sql",
        "finds the $n $t with the highest $a",
        {"t": _TABLE, "a": _AMOUNT, "n": "3 5 10 20 50"},
        """
-- The $n $t with the highest $a.
SELECT *
FROM $t
ORDER BY $a DESC
LIMIT $n;
""",
    ),
    "sql_sum": _task(
        "sql",
        "adds up the $a of all $t for each $g",
        {"t": _TABLE, "a": _AMOUNT, "g": _GROUP},
        """
-- Sum of $a for each $g.
SELECT $g, SUM($a) AS sum_of_$a
FROM $t
GROUP BY $g;
""",
    ),
    "sql_filter": _task(
        "sql",
        "shows all $t with $a above $n",
        {"t": _TABLE, "a": _AMOUNT, "n": "10 25 50 100 500 1000"},
        """
-- $t with $a above $n.
SELECT id, $a
FROM $t
WHERE $a > $n
ORDER BY id;
""",
    ),
    "sql_join": _task(
        "sql",
        "shows each of the $t with the name of its owner",
        {"t": _TABLE, "u": "users people owners members", "a": _AMOUNT},
        """
-- $t with their owners.
SELECT $u.name, $t.$a
FROM $t
JOIN $u ON $u.id = $t.owner_id
ORDER BY $u.name;
""",
    ),
    "sql_create": _task(
        "sql",
        "creates a table $t with id, $g and $a",
        {"t": _TABLE, "a": _AMOUNT, "g": _GROUP},
        """
-- A table of $t.
CREATE TABLE $t (
  id INTEGER PRIMARY KEY,
  $g TEXT NOT NULL,
  $a INTEGER DEFAULT 0
);
""",
    ),
    "sql_update": _task(
        "sql",
        "raises the $a of the $t by $n for one $g",
        {"t": _TABLE, "a": _AMOUNT, "g": _GROUP, "n": "1 2 5 10"},
        """
-- Raise $a by $n where $g is given.
UPDATE $t
SET $a = $a + $n
WHERE $g = 'north';
""",
    ),
    "sql_delete": _task(
        "sql",
        "deletes the $t without a $g",
        {"t": _TABLE, "g": _GROUP},
        """
-- Remove $t without a $g.
DELETE FROM $t
WHERE $g IS NULL;
""",
    ),
    "sql_double": _task(
        "sql",
        "finds each $g that occurs more than once in $t",
        {"t": _TABLE, "g": _GROUP},
        """
-- Values of $g that repeat in $t.
SELECT $g, COUNT(*) AS times
FROM $t
GROUP BY $g
HAVING COUNT(*) > 1;
""",
    ),
}

_SHELL = {
    "sh_count": _task(
        "bash",
        "counts the files in a folder",
        {"d": _FOLDER},
        """
#!/bin/sh
# Count the files in a folder.
$d="$${1:-.}"
find "$$$d" -type f | wc -l
""",
    ),
    "sh_backup": _task(
        "bash",
        "packs a folder into an archive with the date",
        {"d": _FOLDER, "a": "archive backup copy"},
        """
#!/bin/sh
# Pack a folder into an archive that carries the date.
$d="$$1"
$a="$$(date +%F).tar.gz"
tar -czf "$$$a" "$$$d"
echo "wrote $$$a"
""",
    ),
    "sh_large": _task(
        "bash",
        "lists the $n largest files in a folder",
        {"d": _FOLDER, "n": "3 5 10 20"},
        """
#!/bin/sh
# The $n largest files below a folder.
$d="$${1:-.}"
du -a "$$$d" | sort -n -r | head -n $n
""",
    ),
    "sh_rename": _task(
        "bash",
        "renames all .$a files to .$b",
        {"a": "txt jpeg htm text log", "b": "md jpg html bak old", "f": "file name path"},
        """
#!/bin/sh
# Rename .$a files to .$b.
for $f in *.$a; do
  mv "$$$f" "$${$f%.$a}.$b"
done
""",
    ),
    "sh_wait": _task(
        "bash",
        "waits until an address answers",
        {"u": "url address page", "n": "1 2 5 10"},
        """
#!/bin/sh
# Wait until the address answers, trying every $n seconds.
$u="$$1"
until curl -s -o /dev/null "$$$u"; do
  sleep $n
done
echo "ready"
""",
    ),
    "sh_grep": _task(
        "bash",
        "counts the lines with $w in a log",
        {"w": "ERROR WARN failed timeout denied", "l": "log file journal"},
        """
#!/bin/sh
# Count lines with $w in a log.
$l="$$1"
grep -c "$w" "$$$l"
""",
    ),
    "sh_loop": _task(
        "bash",
        "prints the numbers from 1 to $n",
        {"n": "5 10 12 20 50 100", "i": "i number count"},
        """
#!/bin/sh
# Print 1 to $n.
$i=1
while [ "$$$i" -le $n ]; do
  echo "$$$i"
  $i=$$(($i + 1))
done
""",
    ),
    "sh_old": _task(
        "bash",
        "deletes files older than $n days",
        {"d": _FOLDER, "n": "7 14 30 60 90"},
        """
#!/bin/sh
# Delete files that are older than $n days.
$d="$${1:?folder is missing}"
find "$$$d" -type f -mtime +$n -delete
""",
    ),
}

OTHER_TASKS = _RUST | _JAVASCRIPT | _SQL | _SHELL
