"""JavaScript tasks of `code_tasks`."""

from task_banks import LIST, ONE, TEXT, task

JAVASCRIPT_TASKS = {
    "js_sum": task(
        "javascript",
        "adds up an array of numbers",
        {"f": "total sumOf addAll sumArray", "v": LIST, "x": ONE},
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
    "js_max": task(
        "javascript",
        "returns the largest number of an array",
        {"f": "largest maximum findMax", "v": LIST},
        """
// Returns the largest of $v.
function $f($v) {
  return Math.max(...$v);
}
""",
    ),
    "js_reverse": task(
        "javascript",
        "reverses a string",
        {"f": "reverse backwards reverseText", "t": TEXT},
        """
// Returns $t from back to front.
function $f($t) {
  return $t.split("").reverse().join("");
}
""",
    ),
    "js_unique": task(
        "javascript",
        "removes duplicates from an array",
        {"f": "unique distinct withoutDuplicates", "v": LIST},
        """
// Returns $v without repeats.
function $f($v) {
  return [...new Set($v)];
}
""",
    ),
    "js_group": task(
        "javascript",
        "groups objects by a key",
        {"f": "groupBy groupItems byKey", "v": LIST, "x": ONE, "g": "groups result index"},
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
    "js_fetch": task(
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
    "js_debounce": task(
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
    "js_count": task(
        "javascript",
        "counts the words of a text",
        {"f": "countWords wordCounts frequencies", "t": TEXT, "c": "counts table result"},
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
    "js_range": task(
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
    "js_evens": task(
        "javascript",
        "keeps the even numbers of an array",
        {"f": "evens keepEven onlyEven", "v": LIST, "x": ONE},
        """
// Returns the even numbers of $v.
const $f = ($v) => $v.filter(($x) => $x % 2 === 0);
""",
    ),
}
