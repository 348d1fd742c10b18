//! Bytes to one document: JSON, lines of JSON, or the `INSERT` statements of `llama-bench -o sql`.

use serde_json::{Map, Value};

use super::ImportError;

/// JSON as it is; lines of objects and inserted rows as a list.
pub(super) fn or_json(bytes: &[u8]) -> Result<Value, ImportError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ImportError::Syntax {
        place: "the file".to_owned(),
        what: format!("byte {} is not UTF-8", error.valid_up_to()),
    })?;
    if text.lines().any(|line| line.trim_start().starts_with("INSERT INTO ")) {
        return inserted(text);
    }
    match serde_json::from_str::<Value>(text) {
        // A file of one line is one of lines where the tool writes lines.
        Ok(Value::Object(object))
            if object.contains_key("accept_length") || object.contains_key("avg_ts") =>
        {
            Ok(Value::Array(vec![Value::Object(object)]))
        }
        Ok(document) => Ok(document),
        Err(whole) => lines(text, &whole),
    }
}

fn lines(text: &str, whole: &serde_json::Error) -> Result<Value, ImportError> {
    let filled: Vec<_> = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()).collect();
    // Of one line, or of lines the first of which is no object, the error is the file's.
    let starts = filled.first().map(|(line, _)| serde_json::from_str::<Map<String, Value>>(line).is_ok());
    if filled.len() < 2 || starts != Some(true) {
        return Err(ImportError::Syntax { place: "the file".to_owned(), what: whole.to_string() });
    }
    let parse = |(line, number): (&str, usize)| {
        let wrong = |error: serde_json::Error| ImportError::Syntax {
            place: format!("line {number}"),
            what: error.to_string(),
        };
        serde_json::from_str(line).map_err(wrong)
    };
    filled.into_iter().map(parse).collect::<Result<Vec<Value>, _>>().map(Value::Array)
}

/// `INSERT INTO table (column, ...) VALUES ('text', ...);`, one a line.
fn inserted(text: &str) -> Result<Value, ImportError> {
    let statements = text.lines().map(str::trim).filter(|line| line.starts_with("INSERT INTO "));
    statements.zip(1..).map(|(line, nth)| row(line, nth)).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn row(line: &str, statement: usize) -> Result<Value, ImportError> {
    let wrong = |what: String| ImportError::Sql { statement, what };
    let parts = line.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let (columns, rest) = parts.ok_or_else(|| wrong("no list of columns in brackets".to_owned()))?;
    let values = rest.split_once('(').map(|(_, values)| values);
    let values = values.ok_or_else(|| wrong("no list of values in brackets".to_owned()))?;
    let columns: Vec<_> = columns.split(',').map(str::trim).collect();
    let values = quoted(values).ok_or_else(|| wrong("a text has no closing quote".to_owned()))?;
    if columns.len() != values.len() {
        return Err(wrong(format!("{} columns and {} values", columns.len(), values.len())));
    }
    let named = columns.into_iter().map(str::to_owned).zip(values.into_iter().map(|text| typed(&text)));
    Ok(Value::Object(named.collect()))
}

/// Texts in single quotes, a quote in them doubled, up to the closing bracket. `None` if one does not end.
fn quoted(text: &str) -> Option<Vec<String>> {
    let mut values = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('\'') {
        // Behind the bracket that closes the list nothing is a value.
        if rest[..start].contains(')') {
            break;
        }
        rest = &rest[start + 1..];
        let mut value = String::new();
        loop {
            let end = rest.find('\'')?;
            value.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            let Some(after) = rest.strip_prefix('\'') else { break };
            value.push('\'');
            rest = after;
        }
        values.push(value);
    }
    Some(values)
}

/// Everything is written as a text: what reads as a number is one. A commit such as `0e12345` is none.
fn typed(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Number(number)) if !text.contains(['e', 'E']) => Value::Number(number),
        Ok(_) | Err(_) => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_become_rows() {
        let text =
            "CREATE TABLE t (a TEXT);\n\nINSERT INTO t (a, b, c) VALUES ('it''s (one)', '5', '2.5');\n";
        assert_eq!(
            or_json(text.as_bytes()).unwrap(),
            serde_json::json!([{"a": "it's (one)", "b": 5, "c": 2.5}])
        );
        let error = or_json(b"INSERT INTO t (a, b) VALUES ('1');").unwrap_err();
        assert_eq!(error.to_string(), "statement 1: 2 columns and 1 values");
        assert_eq!(typed("0e12345"), Value::String("0e12345".to_owned()));
        assert!(
            or_json(b"INSERT INTO t (a) VALUES ('1);").unwrap_err().to_string().contains("closing quote")
        );
    }

    #[test]
    fn a_broken_line_names_its_number() {
        let error = or_json(b"{\"a\": 1}\n{\"a\": \n").unwrap_err();
        assert!(error.to_string().starts_with("line 2 is not JSON"), "{error}");
        let error = or_json(b"{\"a\": ").unwrap_err();
        assert!(error.to_string().starts_with("the file is not JSON"), "{error}");
        assert!(or_json(&[0xff, 0xfe]).is_err());
    }
}
