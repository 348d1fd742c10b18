//! Command lines as a shell reads them: for people who copy one, and for llama-swap, which splits its `cmd` like one.

/// The words as one line that a POSIX shell splits back into them.
#[must_use]
pub fn shell_line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=+:,./@%".contains(letter);
    // `${PORT}` is llama-swap's, filled in before the line is split.
    if !word.is_empty() && (word == "${PORT}" || word.chars().all(is_plain)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_need_it_are_quoted() {
        let line =
            |words: &[&str]| shell_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            line(&["-m", "/models/a-b_Q8.gguf", "--port", "8080"]),
            "-m /models/a-b_Q8.gguf --port 8080"
        );
        assert_eq!(
            line(&["a b", "", "it's", r#"{"n":1}"#, "${PORT}"]),
            r#"'a b' '' 'it'\''s' '{"n":1}' ${PORT}"#
        );
    }

    #[test]
    fn a_shell_reads_the_words_back() {
        let words =
            ["a b", "it's", "$HOME", "`x`", "\\", "new\nline", "\"", "*", "ü", ";"].map(str::to_owned);
        let line = format!("printf '%s\\0' {}", shell_line(&words));
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), words.map(|word| word + "\0").concat());
    }
}
