"""Python tasks of `code_tasks` that work on numbers."""

from task_banks import COUNT, LIST, ONE, task

NUMBER_TASKS = {
    "sum": task(
        "python",
        "adds up a list of numbers",
        {"f": "total sum_of add_all sum_list", "v": LIST, "x": ONE},
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
    "mean": task(
        "python",
        "returns the average of a list",
        {"f": "mean average mean_of", "v": LIST},
        '''
def $f($v):
    """Return the average, or 0 for an empty list."""
    if not $v:
        return 0
    return sum($v) / len($v)
''',
        "$f([2, 4, 6]) == 4",
    ),
    "maximum": task(
        "python",
        "finds the largest value in a list without max()",
        {"f": "largest maximum find_max biggest", "v": LIST, "x": ONE},
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
    "minimum": task(
        "python",
        "finds the smallest value in a list",
        {"f": "smallest minimum find_min lowest", "v": LIST, "x": ONE},
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
    "factorial": task(
        "python",
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
    "fibonacci": task(
        "python",
        "returns the first Fibonacci numbers",
        {"f": "fibonacci fib first_fibonacci", "n": COUNT},
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
    "prime": task(
        "python",
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
    "gcd": task(
        "python",
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
    "celsius": task(
        "python",
        "converts Celsius to Fahrenheit",
        {"f": "to_fahrenheit fahrenheit celsius_to_fahrenheit", "c": "celsius degrees temperature c"},
        '''
def $f($c):
    """Convert degrees Celsius to Fahrenheit."""
    return $c * 9 / 5 + 32
''',
        "$f(100) == 212",
    ),
    "leap_year": task(
        "python",
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
    "fizzbuzz": task(
        "python",
        "returns the FizzBuzz words up to a number",
        {"f": "fizzbuzz fizz_buzz", "n": COUNT, "r": "words result lines"},
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
    "clamp": task(
        "python",
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
    "digits": task(
        "python",
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
    "power": task(
        "python",
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
    "countdown": task(
        "python",
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
    "running": task(
        "python",
        "returns the running totals of a list",
        {"f": "running_totals cumulative running_sum", "v": LIST, "x": ONE, "r": "totals result sums"},
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
    "counter_class": task(
        "python",
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
