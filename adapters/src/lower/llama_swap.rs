//! llama-swap's configuration: one model id for each arm behind it, and nothing that changes a request on its way.

use std::fmt::Write;

use super::shell_line;

/// Stands in a command line for the port that llama-swap chooses.
pub const PORT: &str = "${PORT}";

/// Seconds a model may take to load.
const READY_LIMIT_S: u32 = 600;

/// The YAML of models, each an id and the command line of its server, program first, with [`PORT`] for its port.
///
/// Without a time to live no model is unloaded between two requests. There are no filters, profiles, aliases or loading
/// messages: each of them would change sampling, the model or the stream in silence.
#[must_use]
pub fn config(models: &[(String, Vec<String>)]) -> String {
    let mut yaml = format!("healthCheckTimeout: {READY_LIMIT_S}\nglobalTTL: 0\nmodels:");
    if models.is_empty() {
        yaml.push_str(" {}\n");
        return yaml;
    }
    yaml.push('\n');
    for (id, argv) in models {
        // Writing to a string cannot fail.
        let _infallible =
            write!(yaml, "  {}:\n    cmd: {}\n    ttl: 0\n", scalar(id), scalar(&shell_line(argv)));
    }
    yaml
}

/// A double-quoted scalar: YAML has JSON's, and reads no other meaning into it.
fn scalar(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn one_model_an_arm() {
        let models = [
            ("none".to_owned(), words("llama-server -m t.gguf --port ${PORT}")),
            ("mtp-1".to_owned(), words("llama-server -m t.gguf -md a.gguf --port ${PORT}")),
        ];
        insta::assert_snapshot!(config(&models), @r#"
        healthCheckTimeout: 600
        globalTTL: 0
        models:
          "none":
            cmd: "llama-server -m t.gguf --port ${PORT}"
            ttl: 0
          "mtp-1":
            cmd: "llama-server -m t.gguf -md a.gguf --port ${PORT}"
            ttl: 0
        "#);
    }

    #[test]
    fn a_yaml_reader_finds_what_was_written() {
        let hostile = "a b: 'c' \"d\" # e\n- f\\ \u{e9} \u{1}".to_owned();
        let models = [
            (hostile.clone(), vec!["x".to_owned(), hostile.clone()]),
            ("yes".to_owned(), words("llama-server --port ${PORT}")),
        ];
        let read: Value = serde_norway::from_str(&config(&models)).unwrap();
        assert_eq!(read["globalTTL"], 0);
        for (id, argv) in &models {
            assert_eq!(read["models"][id]["cmd"], shell_line(argv).as_str(), "{id}");
            assert_eq!(read["models"][id].as_object().unwrap().len(), 2);
        }
        assert_eq!(read["models"].as_object().unwrap().len(), 2);
        let empty: Value = serde_norway::from_str(&config(&[])).unwrap();
        assert_eq!(empty["models"].as_object().unwrap().len(), 0);
    }
}
