"""SQL and shell tasks of `code_tasks`; `$$` is a dollar sign."""

from task_banks import AMOUNT, FOLDER, GROUP, TABLE, task

SQL_TASKS = {
    "sql_count": task(
        "sql",
        "counts the rows of $t",
        {"t": TABLE, "n": "total number_of_rows row_count"},
        """
-- Number of rows in $t.
SELECT COUNT(*) AS $n
FROM $t;
""",
    ),
    "sql_group": task(
        "sql",
        "counts the $t by $g",
        {"t": TABLE, "g": GROUP, "n": "total how_many row_count"},
        """
-- $t by $g, the most frequent first.
SELECT $g, COUNT(*) AS $n
FROM $t
GROUP BY $g
ORDER BY $n DESC;
""",
    ),
    "sql_top": task(
        "sql",
        "finds the $n $t with the highest $a",
        {"t": TABLE, "a": AMOUNT, "n": "3 5 10 20 50"},
        """
-- The $n $t with the highest $a.
SELECT *
FROM $t
ORDER BY $a DESC
LIMIT $n;
""",
    ),
    "sql_sum": task(
        "sql",
        "adds up the $a of all $t for each $g",
        {"t": TABLE, "a": AMOUNT, "g": GROUP},
        """
-- Sum of $a for each $g.
SELECT $g, SUM($a) AS sum_of_$a
FROM $t
GROUP BY $g;
""",
    ),
    "sql_filter": task(
        "sql",
        "shows all $t with $a above $n",
        {"t": TABLE, "a": AMOUNT, "n": "10 25 50 100 500 1000"},
        """
-- $t with $a above $n.
SELECT id, $a
FROM $t
WHERE $a > $n
ORDER BY id;
""",
    ),
    "sql_join": task(
        "sql",
        "shows each of the $t with the name of its owner",
        {"t": TABLE, "u": "users people owners members", "a": AMOUNT},
        """
-- $t with their owners.
SELECT $u.name, $t.$a
FROM $t
JOIN $u ON $u.id = $t.owner_id
ORDER BY $u.name;
""",
    ),
    "sql_create": task(
        "sql",
        "creates a table $t with id, $g and $a",
        {"t": TABLE, "a": AMOUNT, "g": GROUP},
        """
-- A table of $t.
CREATE TABLE $t (
  id INTEGER PRIMARY KEY,
  $g TEXT NOT NULL,
  $a INTEGER DEFAULT 0
);
""",
    ),
    "sql_update": task(
        "sql",
        "raises the $a of the $t by $n for one $g",
        {"t": TABLE, "a": AMOUNT, "g": GROUP, "n": "1 2 5 10"},
        """
-- Raise $a by $n where $g is given.
UPDATE $t
SET $a = $a + $n
WHERE $g = 'north';
""",
    ),
    "sql_delete": task(
        "sql",
        "deletes the $t without a $g",
        {"t": TABLE, "g": GROUP},
        """
-- Remove $t without a $g.
DELETE FROM $t
WHERE $g IS NULL;
""",
    ),
    "sql_double": task(
        "sql",
        "finds each $g that occurs more than once in $t",
        {"t": TABLE, "g": GROUP},
        """
-- Values of $g that repeat in $t.
SELECT $g, COUNT(*) AS times
FROM $t
GROUP BY $g
HAVING COUNT(*) > 1;
""",
    ),
}


SHELL_TASKS = {
    "sh_count": task(
        "bash",
        "counts the files in a folder",
        {"d": FOLDER},
        """
#!/bin/sh
# Count the files in a folder.
$d="$${1:-.}"
find "$$$d" -type f | wc -l
""",
    ),
    "sh_backup": task(
        "bash",
        "packs a folder into an archive with the date",
        {"d": FOLDER, "a": "archive backup copy"},
        """
#!/bin/sh
# Pack a folder into an archive that carries the date.
$d="$$1"
$a="$$(date +%F).tar.gz"
tar -czf "$$$a" "$$$d"
echo "wrote $$$a"
""",
    ),
    "sh_large": task(
        "bash",
        "lists the $n largest files in a folder",
        {"d": FOLDER, "n": "3 5 10 20"},
        """
#!/bin/sh
# The $n largest files below a folder.
$d="$${1:-.}"
du -a "$$$d" | sort -n -r | head -n $n
""",
    ),
    "sh_rename": task(
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
    "sh_wait": task(
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
    "sh_grep": task(
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
    "sh_loop": task(
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
    "sh_old": task(
        "bash",
        "deletes files older than $n days",
        {"d": FOLDER, "n": "7 14 30 60 90"},
        """
#!/bin/sh
# Delete files that are older than $n days.
$d="$${1:?folder is missing}"
find "$$$d" -type f -mtime +$n -delete
""",
    ),
}
