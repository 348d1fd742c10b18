"""Python tasks of `code_tasks` that work on texts, lists and tables."""

from task_banks import LIST, ONE, TEXT, task

DATA_TASKS = {
    "palindrome": task(
        "python",
        "checks whether a text is a palindrome",
        {"f": "is_palindrome palindrome reads_same", "t": TEXT},
        '''
def $f($t):
    """Return True if $t reads the same both ways."""
    letters = [c.lower() for c in $t if c.isalnum()]
    return letters == letters[::-1]
''',
        "$f('Never odd or even')",
    ),
    "reverse_words": task(
        "python",
        "reverses the order of the words in a sentence",
        {"f": "reverse_words turn_words words_backwards", "t": TEXT},
        '''
def $f($t):
    """Return $t with its words in reverse order."""
    return " ".join(reversed($t.split()))
''',
        "$f('one two three') == 'three two one'",
    ),
    "count_words": task(
        "python",
        "counts how often each word occurs",
        {"f": "count_words word_counts frequencies", "t": TEXT, "c": "counts result table"},
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
    "count_vowels": task(
        "python",
        "counts the vowels in a text",
        {"f": "count_vowels vowels number_of_vowels", "t": TEXT},
        '''
def $f($t):
    """Return the number of vowels in $t."""
    return sum(1 for c in $t.lower() if c in "aeiou")
''',
        "$f('banana') == 3",
    ),
    "evens": task(
        "python",
        "returns only the even numbers of a list",
        {"f": "even_numbers evens keep_even only_even", "v": LIST, "x": ONE},
        '''
def $f($v):
    """Return the even numbers of $v."""
    return [$x for $x in $v if $x % 2 == 0]
''',
        "$f([1, 2, 3, 4]) == [2, 4]",
    ),
    "unique": task(
        "python",
        "removes duplicates and keeps the order",
        {"f": "unique without_duplicates distinct dedupe", "v": LIST, "x": ONE},
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
    "flatten": task(
        "python",
        "flattens a list of lists",
        {"f": "flatten flat join_lists", "v": "rows lists groups nested", "x": ONE},
        '''
def $f($v):
    """Return all entries of $v in one list."""
    return [$x for row in $v for $x in row]
''',
        "$f([[1], [2, 3]]) == [1, 2, 3]",
    ),
    "chunk": task(
        "python",
        "splits a list into chunks of a given size",
        {"f": "chunks split_chunks in_chunks batches", "v": LIST, "n": "size step width"},
        '''
def $f($v, $n):
    """Split $v into lists of at most $n entries."""
    return [$v[i:i + $n] for i in range(0, len($v), $n)]
''',
        "$f([1, 2, 3], 2) == [[1, 2], [3]]",
    ),
    "binary_search": task(
        "python",
        "finds a value in a sorted list by binary search",
        {"f": "binary_search find_sorted search", "v": LIST, "x": "target wanted goal"},
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
    "bubble_sort": task(
        "python",
        "sorts a list with bubble sort",
        {"f": "bubble_sort sort_list sort_values", "v": LIST},
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
    "quick_sort": task(
        "python",
        "sorts a list with quicksort",
        {"f": "quick_sort quicksort qsort", "v": LIST, "x": ONE},
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
    "group_by": task(
        "python",
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
    "invert": task(
        "python",
        "swaps keys and values of a dictionary",
        {"f": "invert swap invert_dict", "d": "mapping table pairs data"},
        '''
def $f($d):
    """Return $d with keys and values swapped."""
    return {value: key for key, value in $d.items()}
''',
        "$f({'a': 1}) == {1: 'a'}",
    ),
    "merge": task(
        "python",
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
    "transpose": task(
        "python",
        "transposes a matrix",
        {"f": "transpose turn_matrix flip", "m": "matrix rows grid table"},
        '''
def $f($m):
    """Return the columns of $m as rows."""
    return [list(column) for column in zip(*$m)]
''',
        "$f([[1, 2], [3, 4]]) == [[1, 3], [2, 4]]",
    ),
    "read_lines": task(
        "python",
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
    "initials": task(
        "python",
        "returns the initials of a name",
        {"f": "initials short_name first_letters", "t": "name full_name person"},
        '''
def $f($t):
    """Return the initials of $t."""
    return "".join(part[0].upper() for part in $t.split())
''',
        "$f('ada stone') == 'AS'",
    ),
    "title": task(
        "python",
        "writes each word of a text with a capital letter",
        {"f": "title_case capitalise_words to_title", "t": TEXT},
        '''
def $f($t):
    """Return $t with each word capitalised."""
    return " ".join(word.capitalize() for word in $t.split())
''',
        "$f('red fox') == 'Red Fox'",
    ),
    "stack": task(
        "python",
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
}
