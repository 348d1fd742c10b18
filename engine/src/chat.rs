//! A model's own chat template (Jinja2, from the GGUF), rendered by minijinja.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};
use minijinja_contrib::pycompat;

use crate::EngineError;
use crate::gguf::Gguf;
use crate::tokenizer::Tokenizer;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl ChatMessage {
    /// A message of a role.
    #[must_use]
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: content.to_owned() }
    }

    /// As templates see it.
    fn to_value(&self) -> Value {
        minijinja::context! { role => &self.role, content => &self.content }
    }
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

const NAME: &str = "chat_template";

/// Steps a template may take: a hostile one ends with an error instead of never.
const FUEL: u64 = 10_000_000;

impl ChatTemplate {
    /// The template of a file; `None` if it has none.
    ///
    /// # Errors
    /// If the template is no text, or does not compile; the message holds the line.
    pub fn from_gguf(gguf: &Gguf) -> Result<Option<Self>, EngineError> {
        gguf.opt_str("tokenizer.chat_template")?.map(Self::compile).transpose()
    }

    /// Compiles a template.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn compile(source: &str) -> Result<Self, EngineError> {
        let mut environment = Environment::new();
        // What Hugging Face's renderer sets, and templates rely on.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| failed(&error))?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| failed(&error))?;
        Ok(Self { environment })
    }

    /// Renders messages. `bos` is the text of the BOS token; `enable_thinking` is what templates of reasoning models
    /// ask for.
    ///
    /// # Errors
    /// What the template raises, with its line.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
        enable_thinking: bool,
        bos: &str,
    ) -> Result<String, EngineError> {
        let context = minijinja::context! {
            messages => messages.iter().map(ChatMessage::to_value).collect::<Value>(), add_generation_prompt, enable_thinking, bos_token => bos, tools => (),
        };
        let template = self.environment.get_template(NAME).map_err(|error| failed(&error))?;
        template.render(context).map_err(|error| failed(&error))
    }

    /// Ids of a chat: rendered, then encoded with special tokens; BOS stands in front once.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        enable_thinking: bool,
    ) -> Result<Vec<u32>, EngineError> {
        let bos = tokenizer.bos().and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
        let text = self.render(messages, true, enable_thinking, bos)?;
        Ok(tokenizer.encode(&text, true, true))
    }
}

/// The innermost cause tells most; the line is the template's.
fn failed(error: &Error) -> EngineError {
    let place = error.line().map_or_else(String::new, |line| format!(" at line {line}"));
    EngineError::ChatTemplate { detail: format!("{error}{place}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<String, EngineError> {
        let messages = [ChatMessage::new("system", " Be brief. "), ChatMessage::new("user", "Hi")];
        ChatTemplate::compile(template)?.render(&messages, true, false, "<bos>")
    }

    #[test]
    fn turns_are_rendered_as_gemma_has_them() {
        let template = "{{ bos_token }}\
            {%- for message in messages -%}\
            {{ '<|turn>' + message['role'] + '\\n' + message['content'] | trim + '<turn|>\\n' }}\
            {%- endfor -%}\
            {%- if add_generation_prompt -%}{{ '<|turn>model\\n' }}{%- endif -%}";
        assert_eq!(
            render(template).unwrap(),
            "<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n"
        );
    }

    #[test]
    fn what_released_templates_use_works() {
        let template = "{%- set ns = namespace(last='') -%}\
            {%- for m in messages if m.role != 'system' -%}{%- set ns.last = m.get('content', '') -%}{%- endfor -%}\
            {{ ns.last.upper().strip('I') }}|{{ messages[0]['content'].strip().split(' ') | join('+') }}\
            |{{ m.get('x') if m is defined else 'none' }}|{{ 'ab'.startswith('a') }}|{{ enable_thinking }}\
            |{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}";
        assert_eq!(render(template).unwrap(), "H|Be+brief.|none|True|False|a1");
    }

    #[test]
    fn errors_hold_the_line_and_the_templates_own_words() {
        let error = render("a\n{{ raise_exception('roles must alternate') }}").unwrap_err().to_string();
        assert!(error.contains("roles must alternate") && error.contains("line 2"), "{error}");
        let error = render("{% for %}").unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        let error = render("{{ 'a'.swapcase() }}").unwrap_err().to_string();
        assert!(error.contains("swapcase"), "{error}");
    }

    #[test]
    fn an_endless_template_ends() {
        let error =
            render("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}");
        assert!(error.is_err());
    }
}
