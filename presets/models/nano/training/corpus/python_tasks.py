"""Python tasks of `code_tasks`. `$slot` names vary; `example` is an expression that
is true once the code has run (the tests evaluate each)."""

_LIST = "values numbers items data entries"
_ONE = "value number item x entry"
_TEXT = "text line message content source"
_N = "n count limit size"


def _task(ask: str, names: dict[str, str], code: str, example: str) -> dict:
    return {"ask": ask, "names": names, "code": code, "example": example}


PYTHON_TASKS = {
    "sum": _task(
        "adds up a list of numbers",
        {"f": "total sum_of add_all sum_list", "v": _LIST, "x": _ONE},
        '''
def $f($v):
    """Return the sum of all $v."""
    result = 0
    for $x in $v:
        result += $x
    return result
''',
        "$f([1, 2, 3]) == 6",
    ),
    "mean": _task(
        "returns the average of a list",
        {"f": "mean average mean_of", "v": _LIST},
        '''
def $f($v):
    """Return the average, or 0 for an empty list."""
    if not $v:
        return 0
    return sum($v) / len($v)
''',
        "$f([2, 4, 6]) == 4",
    ),
    "maximum": _task(
        "finds the largest value in a list without max()",
        {"f": "largest maximum find_max biggest", "v": _LIST, "x": _ONE},
        '''
def $f($v):
    """Return the largest of $v."""
    best = $v[0]
    for $x in $v[1:]:
        if $x > best:
            best = $x
    return best
''',
        "$f([3, 9, 4]) == 9",
    ),
    "minimum": _task(
        "finds the smallest value in a list",
        {"f": "smallest minimum find_min lowest", "v": _LIST, "x": _ONE},
        '''
def $f($v):
    """Return the smallest of $v."""
    best = $v[0]
    for $x in $v:
        if $x < best:
            best = $x
    return best
''',
        "$f([3, 1, 4]) == 1",
    ),
    "factorial": _task(
        "computes the factorial of a number",
        {"f": "factorial fact factorial_of", "n": "n number k"},
        '''
def $f($n):
    """Return 1 * 2 * ... * $n."""
    result = 1
    for factor in range(2, $n + 1):
        result *= factor
    return result
''',
        "$f(5) == 120",
    ),
    "fibonacci": _task(
        "returns the first Fibonacci numbers",
        {"f": "fibonacci fib first_fibonacci", "n": _N},
        '''
def $f($n):
    """Return the first $n Fibonacci numbers."""
    numbers = []
    a, b = 0, 1
    for _ in range($n):
        numbers.append(a)
        a, b = b, a + b
    return numbers
''',
        "$f(6) == [0, 1, 1, 2, 3, 5]",
    ),
    "prime": _task(
        "checks whether a number is prime",
        {"f": "is_prime prime check_prime", "n": "n number candidate", "d": "divisor d factor"},
        '''
def $f($n):
    """Return True if $n is a prime number."""
    if $n < 2:
        return False
    $d = 2
    while $d * $d <= $n:
        if $n % $d == 0:
            return False
        $d += 1
    return True
''',
        "$f(13) and not $f(15)",
    ),
    "palindrome": _task(
        "checks whether a text is a palindrome",
        {"f": "is_palindrome palindrome reads_same", "t": _TEXT},
        '''
def $f($t):
    """Return True if $t reads the same both ways."""
    letters = [c.lower() for c in $t if c.isalnum()]
    return letters == letters[::-1]
''',
        "$f('Never odd or even')",
    ),
    "reverse_words": _task(
        "reverses the order of the words in a sentence",
        {"f": "reverse_words turn_words words_backwards", "t": _TEXT},
        '''
def $f($t):
    """Return $t with its words in reverse order."""
    return " ".join(reversed($t.split()))
''',
        "$f('one two three') == 'three two one'",
    ),
    "count_words": _task(
        "counts how often each word occurs",
        {"f": "count_words word_counts frequencies", "t": _TEXT, "c": "counts result table"},
        '''
def $f($t):
    """Count each word of $t."""
    $c = {}
    for word in $t.lower().split():
        $c[word] = $c.get(word, 0) + 1
    return $c
''',
        "$f('a b a') == {'a': 2, 'b': 1}",
    ),
    "count_vowels": _task(
        "counts the vowels in a text",
        {"f": "count_vowels vowels number_of_vowels", "t": _TEXT},
        '''
def $f($t):
    """Return the number of vowels in $t."""
    return sum(1 for c in $t.lower() if c in "aeiou")
''',
        "$f('banana') == 3",
    ),
    "evens": _task(
        "returns only the even numbers of a list",
        {"f": "even_numbers evens keep_even only_even", "v": _LIST, "x": _ONE},
        '''
def $f($v):
    """Return the even numbers of $v."""
    return [$x for $x in $v if $x % 2 == 0]
''',
        "$f([1, 2, 3, 4]) == [2, 4]",
    ),
    "unique": _task(
        "removes duplicates and keeps the order",
        {"f": "unique without_duplicates distinct dedupe", "v": _LIST, "x": _ONE},
        '''
def $f($v):
    """Return $v without repeats, in the same order."""
    seen = set()
    result = []
    for $x in $v:
        if $x not in seen:
            seen.add($x)
            result.append($x)
    return result
''',
        "$f([1, 2, 1, 3]) == [1, 2, 3]",
    ),
    "flatten": _task(
        "flattens a list of lists",
        {"f": "flatten flat join_lists", "v": "rows lists groups nested", "x": _ONE},
        '''
def $f($v):
    """Return all entries of $v in one list."""
    return [$x for row in $v for $x in row]
''',
        "$f([[1], [2, 3]]) == [1, 2, 3]",
    ),
    "chunk": _task(
        "splits a list into chunks of a given size",
        {"f": "chunks split_chunks in_chunks batches", "v": _LIST, "n": "size step width"},
        '''
def $f($v, $n):
    """Split $v into lists of at most $n entries."""
    return [$v[i:i + $n] for i in range(0, len($v), $n)]
''',
        "$f([1, 2, 3], 2) == [[1, 2], [3]]",
    ),
    "gcd": _task(
        "computes the greatest common divisor of two numbers",
        {"f": "gcd greatest_common_divisor common_divisor", "a": "a first left", "b": "b second right"},
        '''
def $f($a, $b):
    """Return the greatest common divisor of $a and $b."""
    while $b:
        $a, $b = $b, $a % $b
    return $a
''',
        "$f(12, 18) == 6",
    ),
    "binary_search": _task(
        "finds a value in a sorted list by binary search",
        {"f": "binary_search find_sorted search", "v": _LIST, "x": "target wanted goal"},
        '''
def $f($v, $x):
    """Return the index of $x in the sorted $v, or -1."""
    low, high = 0, len($v) - 1
    while low <= high:
        middle = (low + high) // 2
        if $v[middle] == $x:
            return middle
        if $v[middle] < $x:
            low = middle + 1
        else:
            high = middle - 1
    return -1
''',
        "$f([1, 3, 5, 7], 5) == 2",
    ),
    "bubble_sort": _task(
        "sorts a list with bubble sort",
        {"f": "bubble_sort sort_list sort_values", "v": _LIST},
        '''
def $f($v):
    """Return a sorted copy of $v."""
    result = list($v)
    for end in range(len(result), 1, -1):
        for i in range(end - 1):
            if result[i] > result[i + 1]:
                result[i], result[i + 1] = result[i + 1], result[i]
    return result
''',
        "$f([3, 1, 2]) == [1, 2, 3]",
    ),
    "quick_sort": _task(
        "sorts a list with quicksort",
        {"f": "quick_sort quicksort qsort", "v": _LIST, "x": _ONE},
        '''
def $f($v):
    """Return a sorted copy of $v."""
    if len($v) < 2:
        return list($v)
    pivot = $v[0]
    low = [$x for $x in $v[1:] if $x < pivot]
    high = [$x for $x in $v[1:] if $x >= pivot]
    return $f(low) + [pivot] + $f(high)
''',
        "$f([3, 1, 2]) == [1, 2, 3]",
    ),
    "celsius": _task(
        "converts Celsius to Fahrenheit",
        {"f": "to_fahrenheit fahrenheit celsius_to_fahrenheit", "c": "celsius degrees temperature c"},
        '''
def $f($c):
    """Convert degrees Celsius to Fahrenheit."""
    return $c * 9 / 5 + 32
''',
        "$f(100) == 212",
    ),
    "leap_year": _task(
        "tells whether a year is a leap year",
        {"f": "is_leap_year leap_year is_leap", "y": "year y"},
        '''
def $f($y):
    """Return True if $y is a leap year."""
    if $y % 400 == 0:
        return True
    return $y % 4 == 0 and $y % 100 != 0
''',
        "$f(2024) and not $f(1900)",
    ),
    "fizzbuzz": _task(
        "returns the FizzBuzz words up to a number",
        {"f": "fizzbuzz fizz_buzz", "n": _N, "r": "words result lines"},
        '''
def $f($n):
    """Return FizzBuzz from 1 to $n."""
    $r = []
    for i in range(1, $n + 1):
        word = ""
        if i % 3 == 0:
            word += "Fizz"
        if i % 5 == 0:
            word += "Buzz"
        $r.append(word or str(i))
    return $r
''',
        "$f(5) == ['1', '2', 'Fizz', '4', 'Buzz']",
    ),
    "group_by": _task(
        "groups words by their first letter",
        {"f": "group_by_letter by_letter group_words", "v": "words names entries", "g": "groups result index"},
        '''
def $f($v):
    """Group $v by their first letter."""
    $g = {}
    for word in $v:
        $g.setdefault(word[0], []).append(word)
    return $g
''',
        "$f(['ant', 'bee', 'ape']) == {'a': ['ant', 'ape'], 'b': ['bee']}",
    ),
    "invert": _task(
        "swaps keys and values of a dictionary",
        {"f": "invert swap invert_dict", "d": "mapping table pairs data"},
        '''
def $f($d):
    """Return $d with keys and values swapped."""
    return {value: key for key, value in $d.items()}
''',
        "$f({'a': 1}) == {1: 'a'}",
    ),
    "merge": _task(
        "merges two sorted lists into one",
        {"f": "merge merge_sorted join_sorted", "a": "left first a", "b": "right second b"},
        '''
def $f($a, $b):
    """Merge two sorted lists."""
    result = []
    i = j = 0
    while i < len($a) and j < len($b):
        if $a[i] <= $b[j]:
            result.append($a[i])
            i += 1
        else:
            result.append($b[j])
            j += 1
    return result + $a[i:] + $b[j:]
''',
        "$f([1, 4], [2, 3]) == [1, 2, 3, 4]",
    ),
    "clamp": _task(
        "limits a value to a range",
        {
            "f": "clamp limit_to keep_in_range",
            "x": "value x number",
            "a": "low lower minimum",
            "b": "high upper maximum",
        },
        '''
def $f($x, $a, $b):
    """Return $x, but not below $a or above $b."""
    if $x < $a:
        return $a
    if $x > $b:
        return $b
    return $x
''',
        "$f(12, 0, 10) == 10",
    ),
    "digits": _task(
        "sums the digits of a number",
        {"f": "digit_sum sum_digits cross_sum", "n": "n number"},
        '''
def $f($n):
    """Return the sum of the digits of $n."""
    result = 0
    while $n > 0:
        result += $n % 10
        $n //= 10
    return result
''',
        "$f(123) == 6",
    ),
    "power": _task(
        "raises a base to a whole power",
        {"f": "power raise_to pow_int", "a": "base b number", "n": "exponent n times"},
        '''
def $f($a, $n):
    """Return $a to the power of $n."""
    result = 1
    for _ in range($n):
        result *= $a
    return result
''',
        "$f(2, 10) == 1024",
    ),
    "transpose": _task(
        "transposes a matrix",
        {"f": "transpose turn_matrix flip", "m": "matrix rows grid table"},
        '''
def $f($m):
    """Return the columns of $m as rows."""
    return [list(column) for column in zip(*$m)]
''',
        "$f([[1, 2], [3, 4]]) == [[1, 3], [2, 4]]",
    ),
    "read_lines": _task(
        "reads a file and returns its lines without the line ends",
        {"f": "read_lines lines_of load_lines", "p": "path file_name name"},
        '''
def $f($p):
    """Return the lines of the file $p."""
    with open($p, encoding="utf-8") as file:
        return [line.rstrip() for line in file]
''',
        "callable($f)",
    ),
    "initials": _task(
        "returns the initials of a name",
        {"f": "initials short_name first_letters", "t": "name full_name person"},
        '''
def $f($t):
    """Return the initials of $t."""
    return "".join(part[0].upper() for part in $t.split())
''',
        "$f('ada stone') == 'AS'",
    ),
    "title": _task(
        "writes each word of a text with a capital letter",
        {"f": "title_case capitalise_words to_title", "t": _TEXT},
        '''
def $f($t):
    """Return $t with each word capitalised."""
    return " ".join(word.capitalize() for word in $t.split())
''',
        "$f('red fox') == 'Red Fox'",
    ),
    "countdown": _task(
        "counts down to zero with a generator",
        {"f": "countdown count_down down_from", "n": "start n seconds"},
        '''
def $f($n):
    """Yield $n, $n - 1, ... down to 0."""
    while $n >= 0:
        yield $n
        $n -= 1
''',
        "list($f(2)) == [2, 1, 0]",
    ),
    "running": _task(
        "returns the running totals of a list",
        {"f": "running_totals cumulative running_sum", "v": _LIST, "x": _ONE, "r": "totals result sums"},
        '''
def $f($v):
    """Return the running totals of $v."""
    $r = []
    total = 0
    for $x in $v:
        total += $x
        $r.append(total)
    return $r
''',
        "$f([1, 2, 3]) == [1, 3, 6]",
    ),
    "stack": _task(
        "class: works as a simple stack",
        {"f": "Stack SimpleStack Pile", "v": "items entries values", "x": "item value entry"},
        '''
class $f:
    """A stack: last in, first out."""

    def __init__(self):
        self.$v = []

    def push(self, $x):
        self.$v.append($x)

    def pop(self):
        return self.$v.pop()

    def is_empty(self):
        return not self.$v
''',
        "$f().is_empty()",
    ),
    "counter_class": _task(
        "class: counts up and can be reset",
        {"f": "Counter Tally StepCounter", "v": "count value total"},
        '''
class $f:
    """Counts up from zero."""

    def __init__(self):
        self.$v = 0

    def add(self, amount=1):
        self.$v += amount
        return self.$v

    def reset(self):
        self.$v = 0
''',
        "$f().add() == 1",
    ),
}
