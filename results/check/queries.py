#!/usr/bin/env python3
"""Runs the SQL blocks of a Markdown file with DuckDB in the current directory; prints the rows of each as JSON.

`queries.py docs/results.md`, in a directory that `bench export --format parquet` wrote.
"""
import json
import re
import sys
from pathlib import Path

import duckdb

blocks = re.findall(r"^```sql\n(.*?)^```", Path(sys.argv[1]).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
answers = []
for query in blocks:
    result = duckdb.sql(query)
    answers.append([dict(zip(result.columns, row)) for row in result.fetchall()])
print(json.dumps(answers, default=str))
