"""Rust tasks of `code_tasks`."""

from task_banks import LIST, TEXT, task

RUST_TASKS = {
    "rust_sum": task(
        "rust",
        "adds up a slice of integers",
        {"f": "total sum_of add_all sum_slice", "v": LIST},
        """
/// Returns the sum of all $v.
fn $f($v: &[i64]) -> i64 {
    $v.iter().sum()
}
""",
    ),
    "rust_max": task(
        "rust",
        "returns the largest value of a slice",
        {"f": "largest maximum find_max biggest", "v": LIST},
        """
/// The largest of $v, or `None` for an empty slice.
fn $f($v: &[i32]) -> Option<i32> {
    $v.iter().copied().max()
}
""",
    ),
    "rust_mean": task(
        "rust",
        "returns the average of a slice of floats",
        {"f": "mean average mean_of", "v": LIST},
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
    "rust_factorial": task(
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
    "rust_gcd": task(
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
    "rust_prime": task(
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
    "rust_reverse": task(
        "rust",
        "reverses a string",
        {"f": "reverse reversed backwards", "t": TEXT},
        """
/// Returns $t from back to front.
fn $f($t: &str) -> String {
    $t.chars().rev().collect()
}
""",
    ),
    "rust_count": task(
        "rust",
        "counts the words of a text",
        {"f": "count_words word_count number_of_words", "t": TEXT},
        """
/// Returns the number of words in $t.
fn $f($t: &str) -> usize {
    $t.split_whitespace().count()
}
""",
    ),
    "rust_evens": task(
        "rust",
        "keeps the even numbers of a vector",
        {"f": "evens keep_even even_numbers", "v": LIST, "x": "x n value"},
        """
/// Returns the even numbers of $v.
fn $f($v: Vec<i32>) -> Vec<i32> {
    $v.into_iter().filter(|$x| $x % 2 == 0).collect()
}
""",
    ),
    "rust_table": task(
        "rust",
        "counts how often each word occurs",
        {"f": "frequencies count_each tally", "t": TEXT, "c": "counts table result"},
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
    "rust_point": task(
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
    "rust_parse": task(
        "rust",
        "parses numbers that are separated by commas",
        {"f": "parse_numbers read_numbers numbers_of", "t": TEXT},
        """
/// Parses the numbers in $t, such as `1,2,3`.
fn $f($t: &str) -> Result<Vec<i32>, std::num::ParseIntError> {
    $t.split(',').map(|part| part.trim().parse()).collect()
}
""",
    ),
}
